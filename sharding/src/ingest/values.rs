//! Tells counts from log-normalised values and chooses the matrix to import.
//!
//! Guarantee: the choice is made on a sample of rows, but every value is checked against it later
//! ([`Reading::problem`]); what does not fit is an error that names cell, gene and value. The scale of normalised values is
//! checked on the sample; what it cannot tell is said.

use std::ops::Range;

use super::ImportOptions;
use super::error::{BadValue, IngestError};
use super::rounding;
use super::scale::{Base, Scale, Sums, thousands};
use super::source::{MatrixPath, Source, make_canonical};
use crate::csr::{Csr, are_counts};
use crate::frame::Frame;
use crate::store::{Rounding, ValueKind};

/// Rows looked at in each of three places.
const SAMPLE_ROWS: usize = 256;
/// No log1p of a normalised count is larger: it would stand for 5·10^8 counts.
const LARGEST_LOG1P: f32 = 20.0;
/// Cells may sum to this part more than their scale allows: values may have been rounded.
const ABOVE: f64 = 0.01;
/// Fewer values do not show what most of them are.
const FEWEST_VALUES: usize = 100;

/// What the values are said to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Find out; counts are preferred.
    #[default]
    Auto,
    /// Raw counts.
    Counts,
    /// Normalised counts on this scale.
    Normalised(Base),
}

/// What is done to the values of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// Whole counts, as they are.
    Counts,
    /// Fractional counts, made whole.
    Rounded(Rounding),
    /// Normalised values, brought to the store's scale.
    Scaled(Scale),
}

impl Reading {
    /// The kind of the values once read.
    pub(super) fn kind(self) -> ValueKind {
        match self {
            Self::Counts | Self::Rounded(_) => ValueKind::Counts,
            Self::Scaled(_) => ValueKind::Log1p,
        }
    }

    /// The scale that values are converted from, if they are.
    pub(super) fn converts_from(self) -> Option<String> {
        match self {
            Self::Scaled(scale) if scale != Scale::STORE => Some(scale.to_string()),
            _ => None,
        }
    }

    /// The largest value there can be.
    fn limit(self) -> f32 {
        match self {
            Self::Scaled(Scale { base: Base::Linear, .. }) | Self::Counts | Self::Rounded(_) => f32::MAX,
            Self::Scaled(_) => LARGEST_LOG1P,
        }
    }

    /// Whether values are all as they should be, at a glance: where this says no, [`Reading::problem`] decides value by
    /// value.
    pub(super) fn are_sound(self, values: &[f32]) -> bool {
        let limit = self.limit();
        values.chunks(4096).all(|part| match self {
            Self::Counts => are_counts(part),
            Self::Rounded(_) | Self::Scaled(_) => {
                part.iter().fold(true, |so_far, &value| so_far.min(value >= 0.0).min(value <= limit))
            }
        })
    }

    /// Why a value is not as it should be, if it is not.
    pub(super) fn problem(self, value: f32) -> Option<&'static str> {
        if !value.is_finite() {
            return Some("it is no finite number");
        }
        match self {
            Self::Counts | Self::Rounded(_) if value < 0.0 => Some("a count is not negative"),
            Self::Counts if value.fract() != 0.0 => Some("a count is a whole number"),
            Self::Scaled(_) if value < 0.0 => Some(SCALED),
            Self::Scaled(_) if value > self.limit() => Some("too large for a log1p value"),
            _ => None,
        }
    }

    /// Makes the values of a block, whose first row is the cell `first` of the import, those of the store.
    pub(super) fn apply(self, first: usize, block: &mut Csr) {
        match self {
            Self::Counts => {}
            Self::Rounded(rounding) => {
                rounding::apply(rounding, first, block);
                make_canonical(block);
            }
            Self::Scaled(scale) => scale.convert(&mut block.values),
        }
    }
}

/// A matrix and what is done to its values.
pub(super) struct Chosen {
    pub(super) matrix: MatrixPath,
    pub(super) reading: Reading,
}

/// What a sample of a matrix looks like; offending values with their row and column.
#[derive(Default)]
struct Look {
    negative: Option<(usize, u32, f32)>,
    fractional: Option<(usize, u32, f32)>,
    large: Option<(usize, u32, f32)>,
    values: usize,
    whole: usize,
    sums: Sums,
}

impl Look {
    fn kind(&self) -> Option<ValueKind> {
        let linear = || self.sums.scale().is_some_and(|scale| scale.base == Base::Linear);
        match (&self.negative, &self.fractional, &self.large) {
            (None, None, _) => Some(ValueKind::Counts),
            (None, Some(_), large) if large.is_none() || linear() => Some(ValueKind::Log1p),
            _ => None,
        }
    }

    /// Whether the matrix can be what it is said to be.
    fn can_be(&self, kind: ValueKind, options: &ImportOptions) -> bool {
        let positive = self.negative.is_none();
        match (options.values, options.round) {
            (Values::Counts, Some(_)) => positive,
            (Values::Normalised(Base::Linear), _) => positive && self.fractional.is_some(),
            _ => self.kind() == Some(kind),
        }
    }

    /// Whether most values are whole numbers, as in counts from which something was subtracted.
    fn is_mostly_whole(&self) -> bool {
        self.values >= FEWEST_VALUES && 2 * self.whole > self.values
    }
}

const SCALED: &str = "log1p values are not negative, these look scaled";

/// What to do about a value that is not of its kind.
pub(super) fn fix(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Counts => {
            "choose the matrix that holds counts with --matrix, or pass --values log1p if this one is log-normalised, or \
             --values counts --round stochastic (or nearest) if these are counts corrected for ambient RNA or shared between \
             genes (SoupX, CellBender, alevin)"
        }
        ValueKind::Log1p => "choose unscaled values with --matrix (layers/NAME or raw/X)",
    }
}

/// Chooses matrix and kind, telling when it is not what one would wish.
pub(super) fn choose(
    source: &dyn Source,
    obs: &Frame,
    options: &ImportOptions,
    notices: &mut Vec<String>,
) -> Result<Chosen, IngestError> {
    let (asked, values) = (options.matrix.as_ref(), options.values);
    let present = source.matrices()?;
    if let Some(matrix) = asked
        && !present.contains(matrix)
    {
        return Err(IngestError::NotFound {
            option: "--matrix",
            wanted: matrix.to_string(),
            owner: source.name(),
            found: present.iter().map(ToString::to_string).collect(),
        });
    }
    let candidates: Vec<MatrixPath> = match asked {
        Some(matrix) => vec![matrix.clone()],
        None => candidates(&present),
    };
    let mut looks = Vec::new();
    for matrix in candidates {
        let look = look(source, &matrix)?;
        looks.push((matrix, look));
    }
    let wanted: &[ValueKind] = match values {
        Values::Auto => &[ValueKind::Counts, ValueKind::Log1p],
        Values::Counts => &[ValueKind::Counts],
        Values::Normalised(_) => &[ValueKind::Log1p],
    };
    for &kind in wanted {
        if let Some((matrix, look)) = looks.iter().find(|(_, look)| look.can_be(kind, options)) {
            let name = format!("{}: {matrix}", source.name());
            if kind == ValueKind::Counts && asked.is_none() && *matrix != MatrixPath::X {
                notices.push(format!(
                    "{}: X does not hold counts, {matrix} does and is imported in its place",
                    source.name()
                ));
            }
            let reading = match (kind, options.round) {
                (ValueKind::Counts, None) => Reading::Counts,
                (ValueKind::Counts, Some(rounding)) => rounded(&name, look, rounding, notices),
                (ValueKind::Log1p, _) => Reading::Scaled(scale_of(&name, look, options, notices)?),
            };
            return Ok(Chosen { matrix: matrix.clone(), reading });
        }
    }
    Err(refusal(source, obs, &looks, values))
}

/// Matrices in order of preference. Of the layers only those named after counts are looked at by themselves:
/// others (`spliced`, `imputed`) may be whole numbers without being the counts.
fn candidates(present: &[MatrixPath]) -> Vec<MatrixPath> {
    let named = |matrix: &&MatrixPath| match matrix {
        MatrixPath::Layer(name) => ["count", "raw", "umi"].iter().any(|word| name.to_lowercase().contains(word)),
        _ => true,
    };
    present.iter().filter(named).cloned().collect()
}

fn rounded(name: &str, look: &Look, rounding: Rounding, notices: &mut Vec<String>) -> Reading {
    if look.fractional.is_some() {
        notices.push(format!("{name} holds fractional counts, made whole by rounding ({rounding})"));
    } else {
        notices.push(format!("{name}: the values looked at are whole; --round is for those that are not"));
    }
    Reading::Rounded(rounding)
}

/// The scale of normalised values: as their sums show, else as declared, else the usual one, which is said.
fn scale_of(name: &str, look: &Look, options: &ImportOptions, notices: &mut Vec<String>) -> Result<Scale, IngestError> {
    const NO_COUNTS: &str = "losses and tests on counts are not available";
    let wrong = |what: String, fix: &str| IngestError::Unrecognised { path: name.into(), what, fix: fix.into() };
    let base = match options.values {
        Values::Normalised(base) => Some(base),
        _ => None,
    };
    let declared = Scale::declared(base, options.target_sum);
    if let Some(found) = look.sums.scale() {
        let other_base = base.is_some_and(|base| base != found.base);
        if other_base || options.target_sum.is_some_and(|target| !found.has_target(target)) {
            let what = format!("declared as {declared}, but its cells sum to those of {found}");
            return Err(wrong(what, "leave --values and --target-sum out, or set them to this scale"));
        }
        notices.push(if found == Scale::STORE {
            format!("{name} is imported as {found}, as the sums of its cells show; {NO_COUNTS}")
        } else {
            format!("{name} holds {found}, as the sums of its cells show; converted to {}; {NO_COUNTS}", Scale::STORE)
        });
        return Ok(found);
    }
    if base.is_none() && options.target_sum.is_none() && look.is_mostly_whole() {
        let what = format!(
            "{} of {} values looked at are whole numbers, so these may be counts from which something was subtracted",
            look.whole, look.values
        );
        return Err(wrong(what, "say what they are: --values counts --round stochastic, or --values log1p"));
    }
    let (smallest, largest) = (look.sums.smallest(declared.base), look.sums.largest(declared.base));
    if largest > declared.target * (1.0 + ABOVE) {
        let what = format!(
            "taken as {declared}, its cells would sum to {} to {}, more than {}",
            thousands(smallest.round()),
            thousands(largest.round()),
            thousands(declared.target)
        );
        let fix =
            "declare their scale: --values log1p, log2, log10 or normalised, with --target-sum N for counts per N";
        return Err(wrong(what, fix));
    }
    let said = if base.is_some() || options.target_sum.is_some() { "as declared" } else { "as is usual" };
    notices.push(format!(
        "{name} is taken as {declared}, {said}: the sums of its cells differ ({} to {}; a part of the genes?), so that they \
         cannot tell (--values and --target-sum declare another scale); {NO_COUNTS}",
        thousands(smallest.round()),
        thousands(largest.round())
    ));
    Ok(declared)
}

fn look(source: &dyn Source, matrix: &MatrixPath) -> Result<Look, IngestError> {
    let mut look = Look::default();
    for rows in sample(source.n_rows()) {
        let first = rows.start;
        let block = source.read_rows(matrix, rows)?;
        for row in 0..block.n_rows() {
            let (columns, values) = block.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                let here = Some((first + row, column, value));
                if value < 0.0 {
                    look.negative = look.negative.or(here);
                }
                if value.fract() != 0.0 {
                    look.fractional = look.fractional.or(here);
                }
                if value > LARGEST_LOG1P {
                    look.large = look.large.or(here);
                }
                look.whole += usize::from(value.fract() == 0.0);
            }
            look.values += values.len();
            look.sums.add(values);
        }
    }
    Ok(look)
}

/// Blocks at the beginning, in the middle and at the end, without overlap.
fn sample(n_rows: usize) -> Vec<Range<usize>> {
    if n_rows <= 3 * SAMPLE_ROWS {
        return std::iter::once(0..n_rows).collect();
    }
    [0, (n_rows - SAMPLE_ROWS) / 2, n_rows - SAMPLE_ROWS].into_iter().map(|at| at..at + SAMPLE_ROWS).collect()
}

fn refusal(source: &dyn Source, obs: &Frame, looks: &[(MatrixPath, Look)], values: Values) -> IngestError {
    let Some((matrix, look)) = looks.first() else {
        return IngestError::NotFound {
            option: "--matrix",
            wanted: "X".into(),
            owner: source.name(),
            found: source.matrices().unwrap_or_default().iter().map(ToString::to_string).collect(),
        };
    };
    let (at, problem, fix) = match (values, look) {
        (Values::Counts, look) => {
            let at = look.negative.or(look.fractional);
            (
                at,
                if look.negative.is_some() { "a count is not negative" } else { "a count is a whole number" },
                fix(ValueKind::Counts),
            )
        }
        (_, Look { negative: Some(at), .. }) => (Some(*at), SCALED, fix(ValueKind::Log1p)),
        (Values::Normalised(_), Look { fractional: None, .. }) => {
            return IngestError::Unrecognised {
                path: source.name().into(),
                what: format!("{matrix} holds whole numbers only, so it is no log1p matrix"),
                fix: "pass --values counts, or choose another matrix with --matrix".into(),
            };
        }
        (_, look) => (
            look.large.or(look.fractional),
            "too large for a log1p value, while other values are fractional, so it is neither counts nor log1p",
            "choose counts or log1p values with --matrix (layers/NAME or raw/X); if these are counts corrected for ambient RNA \
             or shared between genes (SoupX, CellBender, alevin), pass --values counts --round stochastic (or nearest); if they \
             are normalised without a logarithm, --values normalised",
        ),
    };
    let (row, column, value) = at.unwrap_or_default();
    let genes = source.var(matrix).map(|var| var.frame.index).unwrap_or_default();
    Box::new(BadValue {
        input: source.name(),
        matrix: matrix.to_string(),
        cell: obs.index.get(row).cloned().unwrap_or_default(),
        row,
        gene: genes.get(column as usize).cloned().unwrap_or_default(),
        value,
        problem,
        fix,
    })
    .into()
}
