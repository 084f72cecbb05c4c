"""Croissant 1.1 metadata of the datasets that this project makes: digits and icons.

    python -m tools.croissant [--datasets FOLDER]

It writes `croissant-digits.json` and `croissant-icons.json`, which are committed. Words, licences
and sources follow from the entries, `config/packages.yaml` and `docs/icons-sets.md`. Classes, sums
and columns follow from each dataset that FOLDER (`datasets`) holds prepared. Those of the others
stay as the file has them.

Files are named relative to the project, where they lie once they are prepared, so mlcroissant reads
the records of a prepared dataset. It does not read `.npy`: image i belongs to record i. The fields
`url` and `datePublished`, which the format recommends, are missing: nothing has an address yet.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from wiseft.base.io import write_text
from wiseft.base.stages import VERSION
from wiseft.images.manifest import NAME, open_manifest
from wiseft.study.config import Catalogue, DatasetEntry

COLLECTIONS = {
    "digits": "Handwritten and typeset digits of 32x32 pixels: MNIST, sets by other writers, and "
    "renditions. Code of this project makes the arrays from the listed packages.",
    "icons": "Icons of 32x32 pixels, drawn by this project's code from sets by many designers. "
    "Each set has its own licence and author: record set `sets`.",
}
"""What is described, and in which words."""
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{
        name: f"cr:{name}"
        for name in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract"),
            *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray"),
            *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator"),
            *("source", "subField", "transform"),
        )
    },
}
KINDS = {"train": "cr:TrainingSplit", "held-out": "cr:ValidationSplit", "test": "cr:TestSplit"}
SPDX = re.compile(r"CC BY(?:-SA)? \d\.\d|OFL-1\.1|Apache-2\.0|BSD-3-Clause|\bMIT\b")
SETS = re.compile(r"^\| ([a-z-]+) \| (.+) \(`(.+)`\) \| (.+) \| (.+) \|$", re.MULTILINE)
"""A row of docs/icons-sets.md: group, title, set, author, licence."""
Rows = list[dict[str, Any]]


def members(catalogue: Catalogue) -> dict[str, list[DatasetEntry]]:
    """Return the entries of each collection: all that code makes from packages; references first.

    Datasets that are made from files of others (CIFAR-10) are not ours to describe.
    """
    found: dict[str, list[DatasetEntry]] = {name: [] for name in COLLECTIONS}
    for name in catalogue.names("datasets"):
        closure = map(catalogue.dataset, catalogue.dataset_closure([name]))
        if all(entry.builder for entry in closure):
            entry = catalogue.dataset(name)
            found["icons" if entry.builder == "icons" else "digits"].append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: ("train" not in entry.splits, entry.name))
    return found


def prepared(folder: Path) -> dict[str, Any]:
    """Return classes of a prepared dataset, and for each split its size, sums and columns."""
    from pyarrow.parquet import read_schema

    manifest = open_manifest(folder / NAME)
    return {
        "classes": manifest.class_names,
        "side": manifest.image_size,
        "splits": {
            split: {
                "n": files.n,
                "sha256": dict(files.sha256),
                "columns": [
                    [field.name, "sc:Integer" if str(field.type) == "int64" else "sc:Text"]
                    for field in read_schema(folder / files.index)
                ],
            }
            for split, files in manifest.splits.items()
        },
    }


def stated(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of every dataset in a file of `describe`."""
    sums = {file["@id"]: file["sha256"] for file in record["distribution"]}
    sets = {each["@id"]: each for each in record["recordSet"]}
    found: dict[str, Any] = {}
    for row in rows_of(sets["splits"]):
        dataset, split = row["dataset"], row["split"]
        classes = rows_of(sets[row["classes"]])
        about = {"classes": [one["name"] for one in classes], "side": row["side"], "splits": {}}
        files = {part: sums[file_id(dataset, split, part)] for part in ("index", "images")}
        fields = sets[f"{dataset}/{split}"]["field"]
        columns = [[each["source"]["extract"]["column"], each["dataType"]] for each in fields]
        found.setdefault(dataset, about)["splits"][split] = {
            "n": row["n"],
            "sha256": files,
            "columns": columns,
        }
    return found


def rows_of(record_set: Mapping[str, Any]) -> Rows:
    """Return the rows that stand in a record set, by the last part of their fields' names."""
    return [{k.rpartition("/")[2]: v for k, v in row.items()} for row in record_set["data"]]


def file_id(dataset: str, split: str, part: str) -> str:
    """Return the id and address of a file of a prepared dataset."""
    name = {"index": "index.parquet", "images": "images.npy"}[part]
    return f"datasets/{dataset}/{split}/{name}"


def table(name: str, rows: Rows, description: str, **more: Any) -> dict[str, Any]:
    """Return a record set whose rows stand in it."""
    kinds = {str: "sc:Text", int: "sc:Integer"}
    fields = [
        {"@type": "cr:Field", "@id": f"{name}/{key}", "name": key, "dataType": kinds[type(value)]}
        for key, value in rows[0].items()
    ]
    data = [{f"{name}/{key}": value for key, value in row.items()} for row in rows]
    head = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description}
    return {**head, **more, "field": fields, "data": data}


def samples(dataset: str, split: str, about: Mapping[str, Any], classes: str) -> dict[str, Any]:
    """Return the record set of a split, whose rows are those of its index."""
    name, shape = f"{dataset}/{split}", f"({about['n']}, {about['side']}, {about['side']}, 3)"
    fields = []
    for column, kind in about["columns"]:
        source = {
            "fileObject": {"@id": file_id(dataset, split, "index")},
            "extract": {"column": column},
        }
        field = {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column, "dataType": kind}
        fields.append({**field, "source": source})
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Record i belongs to image i of {file_id(dataset, split, 'images')}, uint8 "
        f"{shape}. Labels count the rows of `{classes}`. Samples of one base_id show one original.",
        "key": {"@id": f"{name}/sample_id"},
        "field": fields,
    }


def files(dataset: str, split: str, about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the two files of a split."""
    formats = {"index": "application/x-parquet", "images": "application/x-npy"}
    for part, encoding in formats.items():
        name = file_id(dataset, split, part)
        sums = {"contentUrl": name, "encodingFormat": encoding, "sha256": about["sha256"][part]}
        yield {"@type": "cr:FileObject", "@id": name, "name": name, **sums}


def sets_of(entries: Iterable[DatasetEntry], card: str) -> Rows:
    """Return the sets of icons of some datasets, with author and licence, as the card has them."""
    groups = {g for entry in entries for of in entry.options["groups"].values() for g in of}
    keys = ("group", "title", "set", "author", "licence")
    rows = [dict(zip(keys, found, strict=True)) for found in SETS.findall(card)]
    return [row for row in rows if row["group"] in groups]


def sources(name: str, entries: list[DatasetEntry], catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return record sets of a collection's datasets and packages, and of the sets of icons."""
    about = [
        {
            **{key: getattr(entry, key) for key in ("title", "licence", "citation")},
            "dataset": entry.name,
            "packages": ", ".join(entry.packages),
            "notes": entry.notes or "",
        }
        for entry in entries
    ]
    keys = dict.fromkeys(key for entry in entries for key in entry.packages)
    fields = ("project", "version", "file", "sha256", "licence")
    packages = [
        {"package": key, **{field: getattr(catalogue.package(key), field) for field in fields}}
        for key in keys
    ]
    tables = [
        table("datasets", about, "Every dataset: its licence, its authors, and its packages."),
        table("packages", packages, "The packages that hold the originals."),
    ]
    if name == "icons":
        card = (catalogue.root / "docs" / "icons-sets.md").read_text()
        tables.append(table("sets", sets_of(entries, card), "Every set of icons: author, licence."))
    return tables


def licences(tables: list[dict[str, Any]]) -> list[str]:
    """Return addresses of all licences that `sources` names, of sets alone if there are some."""
    named = {each["@id"]: [row["licence"] for row in rows_of(each)] for each in tables}
    if "sets" in named:
        found = set(named["sets"])
    else:
        texts = [text for several in named.values() for text in several]
        found = {one.replace(" ", "-") for text in texts for one in SPDX.findall(text)}
    return [f"https://spdx.org/licenses/{one}" for one in sorted(found)]


def content(entries: list[DatasetEntry], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files, and the record sets of splits, classes and samples."""
    lists: dict[tuple[str, ...], str] = {}
    distribution, splits, records = [], [], []
    for name in (entry.name for entry in entries):
        found = about[name]
        classes = lists.setdefault(tuple(found["classes"]), f"{name}/classes")
        for split, each in found["splits"].items():
            row = {"name": f"{name}/{split}", "url": KINDS[split], "dataset": name, "split": split}
            splits.append({**row, "n": each["n"], "side": found["side"], "classes": classes})
            distribution += files(name, split, each)
            records.append(samples(name, split, {**found, **each}, classes))
    spelled = [
        table(key, [{"label": i, "name": c} for i, c in enumerate(names)], "Classes, in order.")
        for names, key in lists.items()
    ]
    every = table("splits", splits, "Every split of every dataset.", dataType="cr:Split")
    return {"distribution": distribution, "recordSet": [every, *spelled, *records]}


def describe(
    name: str, entries: list[DatasetEntry], about: Mapping[str, Any], catalogue: Catalogue
) -> dict[str, Any]:
    """Return the Croissant record of a collection.

    Args:
        about: what `prepared` returns, by dataset.
    """
    citation = yaml.safe_load((catalogue.root / "CITATION.cff").read_text())
    authors = [author["name"] for author in citation["authors"]]
    cited = dict.fromkeys(entry.citation for entry in entries)
    tables, record = sources(name, entries, catalogue), content(entries, about)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"wiseft-{name}",
        "description": COLLECTIONS[name],
        "version": f"{VERSION['data']}.0.0",
        "license": licences(tables),
        "creator": [{"@type": "sc:Organization", "name": author} for author in authors],
        "citeAs": "; ".join([f"{', '.join(authors)}: {citation['title']}", *cited]),
        "keywords": citation["keywords"],
        **record,
        "recordSet": [*tables, *record["recordSet"]],
    }


def text_of(record: Mapping[str, Any]) -> str:
    """Return JSON with a line for each field, file and row."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    return re.sub(r"(?<=\{)\n[^{}\[\]]*(?=\})", lambda m: re.sub(r"\n *", " ", m[0]), text)


def texts(root: Path, datasets: Path) -> dict[str, str]:
    """Return the text of each file, by its name.

    Args:
        root: the project, with the files so far.
        datasets: the folder of prepared datasets; those that are not there stay as they are.
    """
    catalogue = Catalogue(root)
    made = {}
    for name, entries in members(catalogue).items():
        file = root / f"croissant-{name}.json"
        about = stated(json.loads(file.read_text())) if file.exists() else {}
        there = [entry.name for entry in entries if (datasets / entry.name / NAME).exists()]
        about |= {dataset: prepared(datasets / dataset) for dataset in there}
        if missing := [entry.name for entry in entries if entry.name not in about]:
            raise SystemExit(f"error: prepare {', '.join(missing)} first: wiseft data prepare")
        made[file.name] = text_of(describe(name, entries, about, catalogue))
    return made


def main() -> None:
    """Write the files and say which changed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", type=Path, default=Path("datasets"))
    for name, text in texts(Path(), parser.parse_args().datasets).items():
        file = Path(name)
        print(f"{name}: {'as it was' if file.exists() and file.read_text() == text else 'new'}")
        write_text(file, text)


if __name__ == "__main__":
    main()
