"""Names that other projects give to the options, for the suggestion after an unknown flag."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jumpstart.choices import nearest

OTHER_NAMES: Mapping[str, str] = {
    "activation": "act activation_fn nonlinearity",
    "augment": "augmentation data_augmentation",
    "batch_size": "bs batch minibatch minibatch_size train_batch_size per_device_train_batch_size",
    "checkpoint_seconds": "save_every checkpoint_every save_interval",
    "config": "cfg config_file conf",
    "curve_points": "log_every log_interval log_every_n_steps",
    "cycle_epochs": "t_0 cycle_length restart_period",
    "data_dir": "data_path data_root dataset_dir root datadir data_folder",
    "dataset": "data dataset_name task",
    "depth": "n_layers num_layers layers n_hidden_layers num_hidden_layers hidden_layers n_blocks",
    "dropout": "dropout_rate drop drop_rate p_dropout",
    "early_stopping": "early_stop",
    "epochs": "max_epochs num_epochs n_epochs num_train_epochs nb_epochs",
    "fast_dev_run": "dry_run smoke_test debug trial",
    "gamma": "lr_decay lr_gamma decay_rate",
    "gpus": "device devices num_gpus n_gpus gpu accelerator cuda",
    "gradient_clip": "grad_clip clip clip_grad max_grad_norm clip_grad_norm gradient_clip_val clip_norm grad_norm",
    "image_size": "img_size resolution input_size",
    "init": "initialization weight_init initializer",
    "label_smoothing": "smoothing",
    "lambda_": "lam lmbda reg reg_weight jumpstart_lambda jumpstart_weight regularization",
    "lr": "learning_rate base_lr initial_lr max_lr eta",
    "min_lr": "eta_min lr_min final_lr",
    "milestones": "lr_steps lr_milestones decay_epochs",
    "name": "run_name exp_name experiment_name wandb_name run_id",
    "noise": "noise_std sigma",
    "num_nodes": "nnodes n_nodes nodes",
    "num_points": "n_samples num_samples n_points samples n_data",
    "num_workers": "workers n_workers dataloader_num_workers num_data_workers",
    "optimizer": "opt optim optimiser",
    "output_dir": "output out outdir save_dir log_dir logdir save_path default_root_dir runs_dir exp_dir",
    "plot_every": "plot_freq plot_interval plot_epoch_freq status_every",
    "plot_status": "plot plots plot_network_status",
    "precision": "amp fp16 bf16 mixed_precision half",
    "progress": "progress_bar enable_progress_bar tqdm",
    "resume": "resume_from resume_from_checkpoint ckpt ckpt_path checkpoint load_checkpoint continue_from",
    "scheduler": "lr_scheduler sched schedule lr_schedule",
    "seed": "random_seed rng_seed seed_everything random_state manual_seed",
    "skip_connections": "use_skip_connections residual residuals shortcuts skips",
    "strategy": "distributed ddp fsdp",
    "test_size": "test_split test_fraction test_ratio",
    "threads": "num_threads n_threads torch_threads",
    "ties": "tie_breaking",
    "use_batchnorm": "bn batchnorm batch_norm use_bn use_batch_norm",
    "use_compile": "compile torch_compile",
    "use_skip_connections": "skip_connections residual residuals shortcuts skips",
    "val_size": "val_split validation_split valid_size val_fraction val_ratio",
    "wandb": "use_wandb log_wandb enable_wandb",
    "wandb_entity": "entity wandb_team wandb_user",
    "wandb_group": "group",
    "wandb_notes": "notes",
    "wandb_project": "project project_name",
    "wandb_tags": "tags",
    "warmup_epochs": "warmup n_warmup num_warmup_epochs",
    "weight_decay": "wd l2 weightdecay l2_reg",
    "width": "hidden hidden_size hidden_dim n_units units num_units n_hidden hidden_units layer_size width_multiplier",
    "width_multiplier": "width width_mult width_factor widen_factor",
}
"""Option -> names in other projects. An option that a launcher lacks is not suggested there."""


def guess(name: str, known: Collection[str]) -> str | None:
    """The known option that a name is meant to be, or None if none is near enough.

    Args:
        name: A name that is not known.
        known: The options.

    Example:
        >>> guess("learning_rate", ["lr", "depth"]), guess("dpeth", ["lr", "depth"])
        ('lr', 'depth')
        >>> guess("entity", ["init", "depth"]) is None
        True
    """
    plain = name.strip().lower().replace("-", "_")
    named = [option for option, others in OTHER_NAMES.items() if option in known and plain in others.split()]
    return named[0] if named else nearest(name, known)
