"""Which image classifiers of transformers are opened: those that docs/models.md lists."""

import transformers
from transformers.models.auto import modeling_auto

from wiseft.errors import WiseftError
from wiseft.models.towers.transformers_models import describe

REFUSED = {
    *("DeiTForImageClassificationWithTeacher", "DinatForImageClassification"),
    *("ImageGPTForImageClassification", "LevitForImageClassificationWithTeacher"),
    *("PPLCNetForImageClassification", "PerceiverForImageClassificationConvProcessing"),
    *("PerceiverForImageClassificationFourier", "PerceiverForImageClassificationLearned"),
    *("ShieldGemma2ForImageClassification", "Siglip2ForImageClassification"),
    *("SwiftFormerForImageClassification", "TimmWrapperForImageClassification"),
}


def test_every_class_is_opened_or_refused_in_a_sentence():
    known = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    refused = set()
    for kind, names in known.items():
        for name in names if isinstance(names, tuple) else (names,):
            config = transformers.CONFIG_MAPPING[kind]().to_dict()
            try:
                about = describe(config | {"architectures": [name], "model_type": kind})
                assert about["embed_dim"] > 0
            except WiseftError:
                refused.add(name)
    assert refused == REFUSED
