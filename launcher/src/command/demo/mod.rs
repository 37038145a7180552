//! `syncyte demo`: the whole chain on one machine, one stage after the other, each what a command does that could be run by hand.

mod fit;
mod folder;
mod scheme;
mod stage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value, json};
use syncyte_sharding::ingest::{self, ImportOptions};
use syncyte_sharding::store::CellStore;

use super::store::import::{self, ImportArguments};
use super::store::split::SplitArguments;
use crate::answer::Answer;
use crate::exit::{data, usage};
use folder::DemoFolder;
use stage::Stage;

/// Arguments of `syncyte demo`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte demo\n  syncyte demo --data norman.h5ad --out runs/norman --ranks 2\n  \
    syncyte demo --data gbm.h5ad --context-key line --control DMSO --scheme context --hold-out U87MG\n\n\
    Cells are imported as by `store import` and split as by `store split`, with their options. OUT/demo.toml is the\n\
    configuration that all stages share, fitted to the cells. A demo that did not come to its end is replaced by the next\n\
    one; a finished one only with --force.")]
pub(crate) struct Arguments {
    /// Cells to use, as for `store import`; may be repeated; planted effects are generated if not given
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Folder to make
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Processes that train together
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    ranks: u32,
    /// Number of generated cells
    #[arg(long, conflicts_with = "data")]
    cells: Option<usize>,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Replace the folder if an earlier demo made it
    #[arg(long)]
    force: bool,
    #[command(flatten, next_help_heading = "Split; if not given, one that the cells allow")]
    split: SplitArguments,
    #[command(flatten, next_help_heading = "Import, with --data")]
    import: ImportArguments,
}

/// Runs the chain.
pub(crate) fn run(arguments: Arguments) -> Result<Answer> {
    let (inputs, options) = arguments.import.read(&arguments.data)?;
    if inputs.is_empty() && options != ImportOptions::default() {
        return Err(usage("options of the import are for cells of a file; name it with --data"));
    }
    let mut folder = DemoFolder::create(&arguments.out, arguments.force, &arguments.overrides)?;
    let mut seconds = Map::new();
    let mut chain = Chain { folder: &folder, ranks: arguments.ranks, seconds: &mut seconds };
    if inputs.is_empty() {
        let mut command = words(["store", "synth"]).arg(folder.store()).arg("--preset").arg("demo");
        if let Some(cells) = arguments.cells {
            command = command.arg("--cells").arg(cells.to_string());
        }
        chain.run("generate", command)?;
    } else {
        chain.here("import", || {
            let report = ingest::import(&inputs, &folder.store(), &options)?;
            Ok((import::describe(&report), ()))
        })?;
    }
    let store = CellStore::open(&folder.store())?;
    require_perturbed(&store)?;
    let split = chain.here("split", || {
        let (split, why) = scheme::split(&store, &arguments.split, &folder.split())?;
        let lines = vec![format!("scheme {}, {why}", split.scheme()), format!("rule: {}", split.rule())];
        Ok((lines, split))
    })?;
    folder.fit(&store, &split, arguments.ranks)?;

    let mut chain = Chain { folder: &folder, ranks: arguments.ranks, seconds: &mut seconds };
    let pretrained = chain.train("pretrain", None)?;
    let checkpoint = text_of(&pretrained, "checkpoint")?;
    chain.train("finetune", Some(&checkpoint))?;
    chain.train("diffuse", Some(&checkpoint))?;
    chain.run("evaluate", words(["evaluate", "--config"]).arg(folder.config()))?;
    chain.run("report", words(["report"]).arg(folder.root()))?;
    folder.finish()?;

    let report = folder.root().join("report.html");
    let total: f64 = chain.seconds.values().filter_map(Value::as_f64).sum();
    let text = format!("done in {total:.0} s\nreport: {}", report.display());
    let json = json!({
        "run_dir": folder.root(), "report": report, "results": folder.root().join("results.json"),
        "scheme": split.scheme().name(), "ranks": arguments.ranks, "checkpoint": checkpoint,
        "stage_seconds": chain.seconds,
    });
    Ok(Answer::new(text, json))
}

/// Refuses cells that nothing about perturbations can be learned from.
fn require_perturbed(store: &CellStore) -> Result<()> {
    let labels = store.labels();
    if (0..labels.n_cells()).any(|cell| !labels.is_control(cell)) {
        return Ok(());
    }
    Err(data(format!(
        "all {} cells are controls, and a demo predicts what perturbations do; give cells with perturbation labels (on cells \
         alone, `syncyte pretrain --set objective.tasks=[\"augmentation\"]` trains)",
        labels.n_cells()
    )))
}

/// The stages that have run, with what they took.
struct Chain<'a> {
    folder: &'a DemoFolder,
    ranks: u32,
    seconds: &'a mut Map<String, Value>,
}

impl Chain<'_> {
    /// Does a stage in this process and prints what it says.
    fn here<T>(&mut self, name: &str, work: impl FnOnce() -> Result<(Vec<String>, T)>) -> Result<T> {
        eprintln!("── {name}");
        let started = Instant::now();
        let (lines, done) = work()?;
        for line in lines {
            eprintln!("   {line}");
        }
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("   {seconds:.1} s");
        self.seconds.insert(name.to_owned(), json!(seconds));
        Ok(done)
    }

    /// Runs a stage in one process.
    fn run(&mut self, name: &'static str, words: Words) -> Result<Value> {
        self.stage(Stage { name, words: words.0, log: None })
    }

    /// Runs a training stage on all ranks.
    fn train(&mut self, name: &'static str, from: Option<&str>) -> Result<Value> {
        let launch = words(["launch", "-n"]).arg(self.ranks.to_string()).arg("--").arg("syncyte").arg("--json");
        let mut command = launch.arg(name).arg("--config").arg(self.folder.config());
        if let Some(checkpoint) = from {
            command = command.arg("--from").arg(checkpoint);
        }
        // Behind mpirun the ranks have no terminal to draw on, so their log is watched instead.
        let log = (self.ranks > 1).then(|| self.folder.log_of(name));
        self.stage(Stage { name, words: command.0, log })
    }

    fn stage(&mut self, stage: Stage) -> Result<Value> {
        let name = stage.name;
        let done = stage.run()?;
        self.seconds.insert(name.to_owned(), json!(done.seconds));
        Ok(done.answer)
    }
}

/// Words of a command line.
struct Words(Vec<OsString>);

fn words<const N: usize>(first: [&str; N]) -> Words {
    Words(first.iter().map(OsString::from).collect())
}

impl Words {
    fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.0.push(word.into());
        self
    }
}

fn text_of(answer: &Value, key: &str) -> Result<String> {
    let text = answer.get(key).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("the stage's answer has no `{key}`: {answer}"))
}
