"""Stage finetune: theta_0 and the reference train split give theta_1 (paper section 3, step 1)."""
