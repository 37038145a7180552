//! Tells counts from log-normalised values and chooses the matrix to import.
//!
//! Guarantee: the choice is made on a sample of rows, but every value is checked against it later
//! ([`problem`]); what does not fit is an error that names cell, gene and value.

use std::ops::Range;

use super::error::{BadValue, IngestError};
use super::source::{MatrixPath, Source};
use crate::csr::are_counts;
use crate::frame::Frame;
use crate::store::ValueKind;

/// Rows looked at in each of three places.
const SAMPLE_ROWS: usize = 256;
/// No log1p of a normalised count is larger: it would stand for 5·10^8 counts.
const LARGEST_LOG1P: f32 = 20.0;

/// What the values are said to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Find out; counts are preferred.
    #[default]
    Auto,
    /// Raw counts.
    Counts,
    /// ln(1 + counts per 10 000).
    Log1p,
}

/// A matrix and the kind of its values.
pub(super) struct Chosen {
    pub(super) matrix: MatrixPath,
    pub(super) kind: ValueKind,
}

/// What a sample of a matrix looks like; offending values with their row and column.
#[derive(Default)]
struct Look {
    negative: Option<(usize, u32, f32)>,
    fractional: Option<(usize, u32, f32)>,
    large: Option<(usize, u32, f32)>,
}

impl Look {
    fn kind(&self) -> Option<ValueKind> {
        match (&self.negative, &self.fractional, &self.large) {
            (None, None, _) => Some(ValueKind::Counts),
            (None, Some(_), None) => Some(ValueKind::Log1p),
            _ => None,
        }
    }
}

/// Whether values are all of their kind, at a glance: where this says no, [`problem`] decides value by value.
pub(super) fn are_sound(values: &[f32], kind: ValueKind) -> bool {
    values.chunks(4096).all(|part| match kind {
        ValueKind::Counts => are_counts(part),
        ValueKind::Log1p => {
            part.iter().fold(true, |so_far, &value| so_far.min(value >= 0.0).min(value <= LARGEST_LOG1P))
        }
    })
}

/// Why a value is not of its kind, if it is not.
pub(super) fn problem(value: f32, kind: ValueKind) -> Option<&'static str> {
    if !value.is_finite() {
        return Some("it is no finite number");
    }
    match kind {
        ValueKind::Counts if value < 0.0 => Some("a count is not negative"),
        ValueKind::Counts if value.fract() != 0.0 => Some("a count is a whole number"),
        ValueKind::Log1p if value < 0.0 => Some("log1p values are not negative, these look scaled"),
        ValueKind::Log1p if value > LARGEST_LOG1P => Some("too large for a log1p value"),
        _ => None,
    }
}

/// What to do about a value that is not of its kind.
pub(super) fn fix(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Counts => {
            "choose the matrix that holds counts with --matrix, or pass --values log1p if this one is log-normalised"
        }
        ValueKind::Log1p => "choose unscaled values with --matrix (layers/NAME or raw/X)",
    }
}

/// Chooses matrix and kind, telling when it is not what one would wish.
pub(super) fn choose(
    source: &dyn Source,
    obs: &Frame,
    asked: Option<&MatrixPath>,
    values: Values,
    notices: &mut Vec<String>,
) -> Result<Chosen, IngestError> {
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
        Values::Log1p => &[ValueKind::Log1p],
    };
    for &kind in wanted {
        if let Some((matrix, _)) = looks.iter().find(|(_, look)| look.kind() == Some(kind)) {
            tell(&source.name(), matrix, kind, asked.is_some(), notices);
            return Ok(Chosen { matrix: matrix.clone(), kind });
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

fn tell(input: &str, matrix: &MatrixPath, kind: ValueKind, asked: bool, notices: &mut Vec<String>) {
    if kind == ValueKind::Log1p {
        notices.push(format!(
            "{input}: no counts found, {matrix} is taken as log1p of counts per 10 000; losses and tests on counts are not available"
        ));
    } else if !asked && *matrix != MatrixPath::X {
        notices.push(format!("{input}: X does not hold counts, {matrix} does and is imported in its place"));
    }
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
            }
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
        (_, Look { negative: Some(at), .. }) => {
            (Some(*at), "log1p values are not negative, these look scaled", fix(ValueKind::Log1p))
        }
        (Values::Log1p, Look { fractional: None, .. }) => {
            return IngestError::Unrecognised {
                path: source.name().into(),
                what: format!("{matrix} holds whole numbers only, so it is no log1p matrix"),
                fix: "pass --values counts, or choose another matrix with --matrix".into(),
            };
        }
        (_, look) => (
            look.large.or(look.fractional),
            "too large for a log1p value, while other values are fractional, so it is neither counts nor log1p",
            "choose counts or log1p values with --matrix (layers/NAME or raw/X)",
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
