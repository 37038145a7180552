//! `syncyte demo`: the whole chain on one machine, one stage after the other, each a command that could be run by hand.

mod folder;
mod stage;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value, json};
use syncyte_sharding::split::Scheme;
use syncyte_sharding::store::CellStore;

use crate::answer::Answer;
use folder::DemoFolder;
use stage::Stage;

/// Combinations of two that make holding half of them out worthwhile; with fewer, cells are held out.
const ENOUGH_DOUBLES: usize = 20;

/// Arguments of `syncyte demo`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte demo\n  syncyte demo --data norman.h5ad --out runs/norman --ranks 2\n\n\
    Every stage prints nothing but errors; OUT/demo.toml is the configuration they share.")]
pub(crate) struct Arguments {
    /// Cells to use, as for `store import`; planted effects are generated if not given
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Folder to make
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Processes that train together
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    ranks: u32,
    /// Number of generated cells
    #[arg(long, conflicts_with = "data")]
    cells: Option<usize>,
    /// What is held out; if not given, doubles where the data has enough of them, else cells
    #[arg(long, value_parser = |text: &str| text.parse::<Scheme>())]
    scheme: Option<Scheme>,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Replace the folder if an earlier demo made it
    #[arg(long)]
    force: bool,
}

/// Runs the chain.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    let mut folder = DemoFolder::create(&arguments.out, arguments.force, &arguments.overrides)?;
    let mut seconds = Map::new();
    let mut chain = Chain { folder: &folder, ranks: arguments.ranks, seconds: &mut seconds };
    if let Some(data) = &arguments.data {
        chain.run("import", words(["store", "import"]).arg(data).arg(folder.store()))?;
    } else {
        let mut command = words(["store", "synth"]).arg(folder.store()).arg("--preset").arg("demo");
        if let Some(cells) = arguments.cells {
            command = command.arg("--cells").arg(cells.to_string());
        }
        chain.run("generate", command)?;
    }
    let store = CellStore::open(&folder.store())?;
    folder.fit(&store)?;
    let mut chain = Chain { folder: &folder, ranks: arguments.ranks, seconds: &mut seconds };
    let scheme = arguments.scheme.unwrap_or_else(|| choose_scheme(&store));
    let split = words(["store", "split"]).arg(folder.store()).arg("--scheme").arg(scheme.name());
    chain.run("split", split.arg("--out").arg(folder.split()))?;

    let pretrained = chain.train("pretrain", None)?;
    let checkpoint = text_of(&pretrained, "checkpoint")?;
    chain.train("finetune", Some(&checkpoint))?;
    chain.train("diffuse", Some(&checkpoint))?;
    chain.run("evaluate", words(["evaluate", "--config"]).arg(folder.config()))?;
    chain.run("report", words(["report"]).arg(folder.root()))?;

    let report = folder.root().join("report.html");
    let total: f64 = chain.seconds.values().filter_map(Value::as_f64).sum();
    let text = format!("done in {total:.0} s\nreport: {}", report.display());
    let json = json!({
        "run_dir": folder.root(), "report": report, "results": folder.root().join("results.json"),
        "scheme": scheme.name(), "ranks": arguments.ranks, "checkpoint": checkpoint, "stage_seconds": chain.seconds,
    });
    Ok(Answer::new(text, json))
}

fn choose_scheme(store: &CellStore) -> Scheme {
    let doubles = store.labels().perturbations.iter().filter(|perturbation| perturbation.targets.len() == 2).count();
    if doubles >= ENOUGH_DOUBLES { Scheme::Doubles } else { Scheme::Cells }
}

/// The stages that have run, with what they took.
struct Chain<'a> {
    folder: &'a DemoFolder,
    ranks: u32,
    seconds: &'a mut Map<String, Value>,
}

impl Chain<'_> {
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
