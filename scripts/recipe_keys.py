"""What every key of the recipe means; a test fails when a key is missing here or is no longer there."""

KEYS = {
    "model": "The base model: a name that `luthier models` lists, a folder, or a hub id (`org/name`); `auto`: minilm, "
    "for chat and complete luthier-nano.",
    "task": "What one answer is: a class (classify), a number (regress), marked spans (extract), the next turn of a "
    "conversation (chat), how a text goes on (complete). "
    "`auto`: recognised from the columns.",
    "out": "The folder in which the run's own folder is made.",
    "data": "Where the samples are and which columns mean what. docs/data.md describes the formats.",
    "data.train": "File, folder, glob or URL to learn from; a list is read as one set.",
    "data.validation": "A share of the training rows, or a file. Chooses the best state, the temperature and "
    "when to stop; never trained on. A share is cut stratified, seeded, and with duplicates on one side.",
    "data.test": "Judges the result once, at the end. Without it the validation rows are reported, and said to be.",
    "data.columns": "Where names differ from the standard ones: `{text: review, label: stars}`.",
    "data.group": "Column whose rows stay on one side of every split (a user, a document, a conversation).",
    "data.share": "The share of the training rows that is learned: stratified, and a smaller share is part of a larger one.",
    "data.split_seed": "The seed of the split into train and validation; without one `train.seed`.",
    "data.template": "A file with a chat template (Jinja) instead of the base model's own; it is saved with the model.",
    "data.fill_middle": "The share of source files that are learned with a gap to fill; `auto`: half of them in a folder of "
    "source code where the tokenizer has the tokens for it, else none.",
    "data.learn": "Which assistant turns of a conversation are learned: `all` or the `last`; a message with weight 0 never is.",
    "data.replay": "General samples of the run's own task (rows of an earlier data set, for example) from which "
    "`train.replay` draws; without it those that come with luthier-nano.",
    "method": "Which parameters train, and where new ones are put. The keys beside `kind` depend on it.",
    "method.kind": "One of full, lora, adapter, head, bitfit, ia3, prefix.",
    "method.kind.full": "Every weight of the base trains. The most accurate where data and time allow it.",
    "method.kind.lora": "Low-rank updates beside frozen weights (Hu et al. 2021); the run holds a small adapter.",
    "method.kind.adapter": "Small bottleneck layers inside each block (Houlsby et al. 2019, Pfeiffer et al. 2020).",
    "method.kind.head": "Only the new head; the base is run once and its output is reused in every epoch.",
    "method.kind.bitfit": "Only biases and the head (Ben Zaken et al. 2021).",
    "method.kind.ia3": "Learned scaling of keys, values and feed-forward activations (Liu et al. 2022).",
    "method.kind.prefix": "Trained keys and values before every layer's own (Li and Liang 2021), "
    "where the model family allows it.",
    "method.rank": "The width of the low-rank update.",
    "method.alpha": "Its scale: the update is multiplied by alpha / rank (rsLoRA: by alpha / sqrt(rank)).",
    "method.dropout": "Dropout before the update.",
    "method.targets": "Which layers get one: all linear layers, or a list of name endings.",
    "method.dora": "Learn magnitude and direction apart (DoRA, Liu et al. 2024).",
    "method.rslora": "Scale by alpha / sqrt(rank) (rsLoRA, Kalajdzievski 2023): larger ranks keep learning.",
    "method.style": "Two bottlenecks per block (houlsby) or one (pfeiffer).",
    "method.bottleneck": "The width of a bottleneck.",
    "method.activation": "The function between its two layers.",
    "method.tokens": "Trained positions before each layer's own.",
    "head": "The new layer on top of the base.",
    "head.pooling": "How token vectors become one: `stock` is the architecture's own head, `mean` and `first` are "
    "ours; `auto`: mean for sentence encoders, else stock.",
    "head.class_weights": "`balanced`: rare classes weigh more in the loss.",
    "head.dropout": "Dropout before the head; `auto`: the base model's own.",
    "head.fit": "`steps`: the head learns with the rest, step by step. `closed`: it is fitted at the end of each epoch, as "
    "logistic regression (regress: ridge regression) on what the encoder gives; with method head that is the whole "
    "training. `auto`: closed with `train.contrastive`, else steps.",
    "head.strength": "Of a closed fit: C of the logistic regression on standardised features. A smaller one keeps the weights "
    "smaller.",
    "freeze": "What of the base does not train, whatever the method.",
    "freeze.embeddings": "The embeddings stay as they are.",
    "freeze.layers": "How many layers stay as they are, counted from the bottom; the embeddings below them stay, too.",
    "train": "How the weights move.",
    "train.epochs": "How often every row is seen; `auto`: by the number of rows and the method.",
    "train.learning_rate": "The highest step size; `auto`: by the method.",
    "train.learning_rate_multiplier": "Multiplies every rate, the automatic ones too; OpenAI's hyperparameter of this name.",
    "train.head_learning_rate": "The same for the new head, which starts from nothing; `auto`: by the method.",
    "train.batch_size": "Rows per optimizer step and micro-batch; `auto`: by the number of rows.",
    "train.max_length": "Tokens per text; `auto`: from the data's own lengths, at most what the base takes.",
    "train.warmup": "The share of all steps in which the learning rate rises.",
    "train.schedule": "How it falls after that.",
    "train.weight_decay": "AdamW's decay; not on biases and norms.",
    "train.layer_decay": "Each layer below the head learns this much slower than the one above; 1.0 = alike.",
    "train.dropout": "Dropout inside the encoder while it trains; `auto`: by the method. The head has its own, `head.dropout`.",
    "train.accumulate": "Micro-batches per optimizer step; the loss is divided once, by the whole step's targets.",
    "train.precision": "`auto`: bf16 on a GPU that has it, else fp32.",
    "train.patience": "Evaluations without a better validation metric before the run stops; 0 = never.",
    "train.save_every_steps": "Steps between checkpoints besides the one at each epoch's end; 0 = only those.",
    "train.max_grad_norm": "Gradients are clipped to this norm.",
    "train.truncate": "A text longer than max_length loses its end or its start, its row is dropped, or (plain text) it is "
    "split; `auto`: end for labelled texts, drop for conversations, split for plain text.",
    "train.shared_prefix": "Compute what the rows of a step begin with in common only once, with exact gradients; "
    "`auto`: where it saves 5 % of the tokens.",
    "train.gradient_checkpointing": "Compute activations again in the backward pass instead of keeping them.",
    "train.cache": "Reuse the activations below the lowest trained layer, where that is exact.",
    "train.seed": "The seed of splits, new weights, order and dropout.",
    "train.replay": "Against forgetting (docs/forgetting.md): the share of the training rows that are general samples, drawn by "
    "the seed from `data.replay` (rehearsal, Robins 1995).",
    "train.l2_sp": "Against forgetting: alpha of the penalty alpha / 2 times the squared distance of the base's own weights from "
    "their start (L2-SP, Li et al. 2018); a new head is left out. For methods that train those weights (full, bitfit).",
    "train.kl_to_base": "Against forgetting: weight of the distance from the base on the rows of each step (Li and Hoiem 2016): KL of "
    "the next token's distribution where a token is learned; for encoders the squared distance of the vectors that the head reads.",
    "train.contrastive": "For few rows per label (after SetFit, Tunstall et al. 2022): the encoder learns that rows of one label lie "
    "near each other and rows of two labels apart (cosine similarity 1 and 0, squared error), then the head is fitted on "
    "what it gives. `true`, or the settings below; for classify with one label per row, and any method but head.",
    "train.contrastive.rows_per_label": "How many rows of one label come together in a step; all pairs of a step are learned.",
    "train.contrastive.passes": "How often an epoch goes over all rows before the head is fitted and judged.",
    "train.average": "Against forgetting: the tuned share of the weights that are kept at the end, the rest is the base (WiSE-FT, "
    "Wortsman et al. 2022); of an adapter its scale. May be changed with `--resume`: nothing is trained again.",
    "evaluate": "How the result is judged.",
    "evaluate.metrics": "`auto`: all metrics of the task.",
    "evaluate.baselines": "What the result is compared with on the same rows: the most frequent answer, TF-IDF with "
    "a linear model, the frozen base with a linear head, the same architecture from scratch; for generative tasks `base`, "
    "the model before tuning, and `scratch`.",
    "evaluate.samples": "Questions that are answered before training and at every evaluation, always the same ones.",
    "evaluate.max_tokens": "The longest generated answer, in tokens.",
    "evaluate.generate_rows": "Test rows that are answered and compared with their reference; loss is measured on all.",
    "evaluate.memorisation": "Training rows that are looked at for answers learned by heart (generative tasks); 0 = none.",
    "evaluate.canaries": "Random secrets to plant in the training data, to measure what the model remembers of single rows "
    "(generative tasks). Train without them before you use the model.",
    "evaluate.run_code": "Run generated code against the row's `tests`, in a sandbox.",
    "evaluate.graders": "OpenAI's graders over generated answers: string_check, text_similarity, python, score_model, multi.",
    "evaluate.bootstrap": "Resamples behind each 95 % interval.",
    "evaluate.forgetting": "Measure what was forgotten on general texts, against the base, and the trade-off between both; with "
    "`{anchors: [files]}` on texts of yours, too. docs/forgetting.md.",
    "evaluate.forgetting.anchors": "General texts in any format that the task reads (12 rows or more; labels are not needed).",
    "evaluate.fairness": "Whom the model fails: metrics by group, `{group: column}`, and answers when only who a text is about changes. "
    "docs/fairness.md.",
    "evaluate.fairness.group": "The column of the test data that names each row's group, or a list of columns.",
    "evaluate.fairness.swaps": "Words that are swapped in the test texts: `auto` (English lists of ours), `none`, or a YAML file.",
    "track": "Mirror the run elsewhere, besides its own folder: `tensorboard`, or `{mlflow: URI}` and more. docs/tracking.md.",
    "track.mlflow": "Address of an MLflow server (http://host:5000): parameters, metrics, report and model go there. Passwords come "
    "from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    "track.experiment": "Name of the MLflow experiment; it is made when it is missing.",
    "track.register_as": "Name under which the tuned model enters MLflow's model registry, as a new version.",
    "track.tensorboard": "Write TensorBoard event files: true for `tensorboard/` in the run's folder, or another folder.",
    "track.wandb": "A Weights & Biases run `{project, name, entity, tags}`, where the package wandb is installed and logged in.",
    "track.wandb.project": "The Weights & Biases project.",
    "track.wandb.name": "Name of the run; the run folder's where there is none.",
    "track.wandb.entity": "Team or user that the project belongs to.",
    "track.wandb.tags": "Tags of the run.",
}
