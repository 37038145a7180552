//! The split schemes: their names, their rules in words, and what to do where one matches nothing.

use std::fmt;
use std::str::FromStr;

use super::{SplitError, SplitOptions};

/// A rule for splitting a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Held-out cells of known conditions.
    Cells,
    /// Held-out target genes.
    Perturbations,
    /// Held-out combinations; all single perturbations train.
    Doubles,
    /// One held-out context.
    Context,
    /// Whatever a column of the data says.
    Column,
}

impl Scheme {
    /// The schemes that need nothing but labels.
    pub const ALL: [Scheme; 4] = [Scheme::Cells, Scheme::Perturbations, Scheme::Doubles, Scheme::Context];

    /// The name on the command line and in split files.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Cells => "cells",
            Scheme::Perturbations => "perturbations",
            Scheme::Doubles => "doubles",
            Scheme::Context => "context",
            Scheme::Column => "column",
        }
    }

    pub(super) fn rule(self, options: &SplitOptions) -> String {
        let shares = options.shares.unwrap_or_default();
        let controls = format!("control cells are split {shares} in every context");
        match self {
            Scheme::Cells => format!(
                "cells are split {shares} inside every (context, perturbation); the controls of a context are one such group"
            ),
            Scheme::Perturbations => format!(
                "target genes are split {shares}; a condition is in test if any target is a test gene, else in val \
                 if any is a val gene, else in train; {controls}"
            ),
            Scheme::Doubles if options.shares.is_some() => format!(
                "all single perturbations train; the doubles are split {shares}; combinations of three or more are in test; \
                 {controls}"
            ),
            Scheme::Doubles => format!(
                "all single perturbations and half of the doubles train; the other doubles are halved into val and \
                 test; combinations of three or more are in test; {controls}"
            ),
            Scheme::Context => format!(
                "perturbed cells of context `{}` are in test; those of the other contexts are split {} into train \
                 and val inside every (context, perturbation); {controls}, the held-out one among them",
                options.hold_out.as_deref().unwrap_or_default(),
                shares.without_test()
            ),
            Scheme::Column => "the folds are those of a column".into(),
        }
    }

    /// What helps where a fold of this scheme is empty.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Scheme::Cells => {
                "import more cells: a (context, perturbation) needs at least 4 cells to give one to val and test"
            }
            Scheme::Perturbations => "the store needs at least 4 distinct target genes; with fewer use --scheme cells",
            Scheme::Doubles => {
                "the store needs single perturbations and at least 4 combinations of two; without them use --scheme perturbations"
            }
            Scheme::Context => {
                "the held-out context needs perturbed cells, and another context at least 4 cells of a perturbation; \
                 hold out another context or use --scheme cells"
            }
            Scheme::Column => "the column needs perturbed cells in train, val and test; without them use a --scheme",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = SplitError;

    fn from_str(name: &str) -> Result<Self, SplitError> {
        let known = Scheme::ALL.into_iter().chain([Scheme::Column]).find(|scheme| scheme.name() == name);
        known.ok_or_else(|| SplitError::UnknownScheme { name: name.to_owned() })
    }
}
