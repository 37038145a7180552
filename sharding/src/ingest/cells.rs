//! The labels and tables of all cells of an import, before and after quality control.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ImportOptions;
use super::columns::ALL;
use super::controls::AS_GIVEN;
use super::error::IngestError;
use super::inputs::Input;
use super::labels::LabelParser;
use super::qc::Standing;
use super::remarks::{self, Counts};
use super::rewrite::Rewritten;
use super::tables;
use crate::frame::{Column, Frame};
use crate::genes;
use crate::labels::{CONTROL, Labels, Perturbation};

/// Labels named in an error, at most.
const NAMED_LABELS: usize = 20;

/// What stands for the label of a cell of an input without labels.
const NO_LABEL: &str = "(no label)";

/// Labels of every cell of all inputs, one after the other.
pub(super) struct Cells {
    pub(super) labels: Labels,
    /// Whether the cell takes part.
    pub(super) standing: Vec<Standing>,
}

impl Cells {
    /// Parses the labels of all inputs together, so that a condition has one name in all of them.
    pub(super) fn parse(
        inputs: &[Input],
        options: &ImportOptions,
        notices: &mut Vec<String>,
    ) -> Result<Self, IngestError> {
        let spelled = spelled(inputs);
        let distinct: BTreeSet<&str> = spelled.iter().copied().flatten().collect();
        let rewritten = options.rewriting.apply(&distinct, notices)?;
        let now = |label: &str| match &rewritten[label] {
            Rewritten::As(now) => Some(now.as_str()),
            Rewritten::Excluded => None,
        };
        let mut counts = Counts::new();
        for label in spelled.iter().copied().flatten().filter_map(now) {
            *counts.entry(label).or_default() += 1;
        }
        let parser = LabelParser::new(&options.control, options.strip_guide_suffix)
            .with_genes(inputs.iter().flat_map(|input| &input.var.index))
            .with_labels(counts.keys().copied());
        let recorded = inputs.iter().flat_map(|input| &input.labels.known);
        let recorded: HashMap<&str, &Perturbation> = recorded.map(|known| (known.name.as_str(), known)).collect();
        let read = |label: &str| recorded.get(label).map_or_else(|| parser.parse(label), |&known| known.clone());
        let parsed: HashMap<&str, Perturbation> = counts.keys().map(|&label| (label, read(label))).collect();
        require_controls(inputs, &counts, &parsed, options)?;
        let guessed: Counts<'_> =
            counts.iter().filter(|(label, _)| !recorded.contains_key(*label)).map(|(&l, &n)| (l, n)).collect();
        notices.extend(remarks::remarks(&parser, &guessed, options.strip_guide_suffix, !options.control.is_empty()));
        let mut standing = Vec::with_capacity(spelled.len());
        for input in inputs {
            standing.extend(labelled_cells(input, options.drop_unlabelled)?);
        }
        for (standing, label) in standing.iter_mut().zip(&spelled) {
            if label.is_some_and(|label| now(label).is_none()) {
                *standing = Standing::Excluded;
            }
        }
        let names =
            spelled.iter().map(|label| label.and_then(now).map_or(CONTROL, |label| parsed[label].name.as_str()));
        let (perturbations, perturbation) = code(names, Some(CONTROL));
        let by_name: HashMap<&str, &Perturbation> = parsed.values().map(|p| (p.name.as_str(), p)).collect();
        let perturbations = perturbations
            .iter()
            .map(|name| by_name.get(name.as_str()).map_or_else(Perturbation::control, |&p| p.clone()))
            .collect();
        let (contexts, context) = code(inputs.iter().flat_map(|i| &i.labels.context).map(String::as_str), None);
        let batch_names = batches(inputs);
        let (batches, batch) = code(batch_names.iter().map(String::as_str), None);
        let (kinds, kind) = code(inputs.iter().flat_map(|i| &i.labels.kind).map(String::as_str), None);
        let labels = Labels { perturbations, perturbation, contexts, context, batches, batch, kinds, kind };
        Ok(Self { labels, standing })
    }

    /// Number of targets of every perturbation code.
    pub(super) fn n_targets(&self) -> Vec<usize> {
        self.labels.perturbations.iter().map(|p| p.targets.len()).collect()
    }

    /// How the controls among some cells are labelled in the data, with their numbers.
    pub(super) fn control_labels(&self, inputs: &[Input], cells: &[usize]) -> BTreeMap<String, u64> {
        let spelled = spelled(inputs);
        let mut counts = BTreeMap::new();
        for &cell in cells.iter().filter(|&&cell| self.labels.is_control(cell)) {
            *counts.entry(spelled[cell].unwrap_or(NO_LABEL)).or_default() += 1;
        }
        counts.into_iter().map(|(label, cells)| (label.to_owned(), cells)).collect()
    }

    /// Cells of the largest perturbation.
    pub(super) fn largest(&self) -> usize {
        let mut sizes = vec![0; self.labels.perturbations.len()];
        self.labels.perturbation.iter().for_each(|&code| sizes[code as usize] += 1);
        sizes.into_iter().skip(1).max().unwrap_or(0)
    }

    /// Labels of some cells; what none of them bears is left out.
    pub(super) fn labels_of(&self, cells: &[usize]) -> Labels {
        let all = &self.labels;
        let (kept, perturbation) = recode(&all.perturbation, cells, all.perturbations.len(), true);
        let (kept_contexts, context) = recode(&all.context, cells, all.contexts.len(), false);
        let (kept_batches, batch) = recode(&all.batch, cells, all.batches.len(), false);
        let (kept_kinds, kind) = recode(&all.kind, cells, all.kinds.len(), false);
        let pick = |names: &[String], kept: &[usize]| kept.iter().map(|&at| names[at].clone()).collect();
        Labels {
            perturbations: kept.iter().map(|&at| all.perturbations[at].clone()).collect(),
            perturbation,
            contexts: pick(&all.contexts, &kept_contexts),
            context,
            batches: pick(&all.batches, &kept_batches),
            batch,
            kinds: pick(&all.kinds, &kept_kinds),
            kind,
        }
    }
}

/// Which cells have a label; all do where the input names no perturbation at all.
fn labelled_cells(input: &Input, drop: bool) -> Result<Vec<Standing>, IngestError> {
    let Some(column) = &input.labels.columns.perturbation else {
        return Ok(vec![Standing::Labelled; input.obs.index.len()]);
    };
    let standing = |label: &Option<String>| if label.is_some() { Standing::Labelled } else { Standing::Unlabelled };
    let labelled: Vec<Standing> = input.labels.perturbation.iter().map(standing).collect();
    match labelled.iter().position(|&standing| standing == Standing::Unlabelled) {
        Some(first) if !drop => Err(IngestError::Unlabelled {
            input: input.source.name(),
            column: column.clone(),
            count: labelled.iter().filter(|&&standing| standing == Standing::Unlabelled).count(),
            cell: input.obs.index[first].clone(),
        }),
        _ => Ok(labelled),
    }
}

/// Refuses labels without a control, and control labels that no cell bears.
fn require_controls(
    inputs: &[Input],
    counts: &Counts<'_>,
    parsed: &HashMap<&str, Perturbation>,
    options: &ImportOptions,
) -> Result<(), IngestError> {
    if inputs.iter().all(|input| input.labels.columns.perturbation.is_none()) && options.control.is_empty() {
        return Ok(());
    }
    let borne = |wanted: &&String| {
        let word = LabelParser::new(std::slice::from_ref(*wanted), false);
        let is_word = |text: &str| word.control_kind(text.trim()) == Some(AS_GIVEN);
        counts.keys().any(|label| is_word(label) || label.split('+').any(is_word))
    };
    let absent: Vec<String> = options.control.iter().filter(|wanted| !borne(wanted)).cloned().collect();
    if absent.is_empty() && parsed.values().any(Perturbation::is_control) {
        return Ok(());
    }
    let mut counts: Vec<(&str, usize)> = counts.iter().map(|(&label, &cells)| (label, cells)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let found = counts.into_iter().take(NAMED_LABELS).map(|(label, cells)| format!("{label} ({cells})")).collect();
    Err(IngestError::NoControl { wanted: absent, found })
}

/// The label of every cell of all inputs, as it stands there.
fn spelled(inputs: &[Input]) -> Vec<Option<&str>> {
    inputs.iter().flat_map(|input| &input.labels.perturbation).map(Option::as_deref).collect()
}

/// Batches; those of several inputs are told apart by the input's name.
fn batches(inputs: &[Input]) -> Vec<String> {
    let several = inputs.len() > 1;
    let name = |input: &Input, batch: &String| match (several, batch.as_str()) {
        (false, _) => batch.clone(),
        (true, ALL) => input.stem.clone(),
        (true, batch) => format!("{}:{batch}", input.stem),
    };
    inputs.iter().flat_map(|input| input.labels.batch.iter().map(move |batch| name(input, batch))).collect()
}

/// Distinct names, sorted but for `first`, and the code of every value.
fn code<'a>(values: impl Iterator<Item = &'a str> + Clone, first: Option<&'a str>) -> (Vec<String>, Vec<u32>) {
    let distinct: BTreeSet<&str> = values.clone().filter(|&value| Some(value) != first).collect();
    let names: Vec<&str> = first.into_iter().chain(distinct).collect();
    let codes: HashMap<&str, u32> = names.iter().enumerate().map(|(at, &name)| (name, at as u32)).collect();
    let coded = values.map(|value| codes[value]).collect();
    (names.into_iter().map(Into::into).collect(), coded)
}

/// Codes in use among `cells`, and the codes of these cells in terms of them. `keep_first` keeps code 0 in any case.
fn recode(codes: &[u32], cells: &[usize], n: usize, keep_first: bool) -> (Vec<usize>, Vec<u32>) {
    let mut used = vec![false; n];
    for &cell in cells {
        used[codes[cell] as usize] = true;
    }
    if keep_first && n > 0 {
        used[0] = true;
    }
    let kept: Vec<usize> = (0..n).filter(|&code| used[code]).collect();
    let mut fresh = vec![0; n];
    for (new, &old) in kept.iter().enumerate() {
        fresh[old] = new as u32;
    }
    (kept, cells.iter().map(|&cell| fresh[codes[cell] as usize]).collect())
}

/// The table of all cells, those of several inputs marked by a column `dataset`.
pub(super) fn table(inputs: &[Input], make_unique: bool, notices: &mut Vec<String>) -> Frame {
    let several = inputs.len() > 1;
    let frames = inputs.iter().map(|input| {
        let mut frame = input.obs.clone();
        if several && frame.column("dataset").is_none() {
            let names = vec![Some(input.stem.clone()); frame.index.len()];
            frame.columns.push(Column { name: "dataset".into(), data: tables::categorical(&names) });
        }
        frame
    });
    let mut all = tables::concat(frames.collect());
    let repeated = genes::duplicates(&all.index);
    let Some(example) = repeated.first() else { return all };
    let (n, cells) =
        (repeated.len(), if repeated.len() == 1 { "name of cells occurs" } else { "names of cells occur" });
    if make_unique {
        genes::make_unique(&mut all.index);
        notices.push(format!("{n} {cells} more than once ({example} …); the later ones were numbered"));
    } else {
        notices.push(format!("{n} {cells} more than once ({example} …); --make-unique numbers them"));
    }
    all
}
