//! The model card of an exported checkpoint. It says what the checkpoint knows and no more.

use syncyte_sharding::store::ValueKind;

use crate::checkpoint::State;
use crate::model::Jepa;

/// What the encoder reads.
pub(super) fn input(state: &State) -> &'static str {
    match state.value_kind {
        ValueKind::Counts => "log1p(10000 * counts / library_size)",
        ValueKind::Log1p => "log-normalised values, as the training data had them",
    }
}

/// What was predicted, phase by phase.
fn objective(state: &State) -> String {
    let tasks = state.config.objective.tasks.iter();
    let words = tasks.filter_map(|choice| Some((choice.build())(choice.table()).ok()?.predicts()));
    words.collect::<Vec<_>>().join(", then ")
}

/// `README.md` with the front matter that model hubs read.
pub(super) fn render(state: &State, model: &Jepa) -> String {
    let (vocabulary, parameters) = (&state.vocabulary, model.layout().n_parameters());
    let library = match state.value_kind {
        ValueKind::Counts => "; the library size is the total over all genes that passed quality control",
        ValueKind::Log1p => "",
    };
    format!(
        "---\n\
         library_name: syncyte\n\
         license: other\n\
         license_name: unknown\n\
         pipeline_tag: feature-extraction\n\
         tags:\n- biology\n- single-cell\n- transcriptomics\n- perturb-seq\n- jepa\n\
         ---\n\n\
         # Syncyte JEPA, step {step} of {total}\n\n\
         A joint-embedding predictive model of gene expression with {parameters} parameters. It was trained to predict, \
         in the space of embeddings, {objective}.\n\n\
         **Licence.** None is recorded for these weights: `other` and `unknown` above stand for that. Whoever publishes \
         them sets it, and has to respect that of the training data.\n\n\
         ## Files\n\n\
         | file | content |\n|---|---|\n\
         | `model.safetensors` | f32: `encoder.*` (the averaged teacher), the perturbation encoder, the predictor |\n\
         | `config.json` | sizes and hashes |\n\
         | `vocab.txt` | the {genes} genes that the encoder reads, one a line, in the order of its inputs |\n\
         | `targets.txt`, `contexts.txt`, `kinds.txt` | {targets} target genes, {contexts} contexts and {kinds} kinds of \
         perturbation, in the order of their embeddings |\n\n\
         ## Use\n\n\
         Input is `{input}` for the genes of `vocab.txt`{library}. A cell becomes {tokens} tokens of width {width}; its embedding is their mean. Weights are read by\n\n\
         ```python\n\
         from safetensors.torch import load_file\n\n\
         weights = load_file(\"model.safetensors\")\n\
         ```\n\n\
         There is no class of `transformers` for this architecture: `model_type` in `config.json` names it, it does not \
         load it.\n\n\
         ## Provenance\n\n\
         | | |\n|---|---|\n\
         | training data (hash) | {data} |\n\
         | split (hash) | {split} |\n\
         | configuration (hash) | {config} |\n\
         | parameters of the checkpoint (hash) | {hash} |\n\
         | step | {step} of {total} |\n\
         | seed | {seed} |\n\
         | Syncyte | {version} |\n\n\
         ## Limitations\n\n\
         - What the training cells were, and how well the model predicts held-out perturbations, is not recorded here; \
         `syncyte evaluate` and `syncyte report` measure the latter.\n\
         - It knows no gene, target, context or kind of perturbation that is not listed.\n\
         - It is a tool of research and not for clinical use.\n",
        input = input(state),
        objective = objective(state),
        step = state.step,
        total = state.total_steps,
        genes = vocabulary.genes.len(),
        targets = vocabulary.targets.len(),
        contexts = vocabulary.contexts.len(),
        kinds = vocabulary.kinds.len(),
        tokens = model.encoder.tokens(vocabulary.genes.len() as u64),
        width = model.encoder.width(),
        data = state.data_hash,
        split = state.split_hash,
        config = state.config_hash,
        hash = state.parameter_hash,
        seed = state.config.run.seed,
        version = env!("CARGO_PKG_VERSION"),
    )
}
