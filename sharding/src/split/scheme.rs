//! The split schemes: their names, their rules in words, and what to do where one matches nothing.

use std::fmt;
use std::str::FromStr;

use super::SplitError;

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
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Scheme; 4] = [Scheme::Cells, Scheme::Perturbations, Scheme::Doubles, Scheme::Context];

    /// The name on the command line and in split files.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Cells => "cells",
            Scheme::Perturbations => "perturbations",
            Scheme::Doubles => "doubles",
            Scheme::Context => "context",
        }
    }

    pub(super) fn rule(self, hold_out: Option<&str>) -> String {
        const CONTROLS: &str = "control cells are split 70/15/15 in every context";
        match self {
            Scheme::Cells => {
                "cells are split 70/15/15 inside every (context, perturbation); the controls of a context are one such group"
                    .into()
            }
            Scheme::Perturbations => format!(
                "target genes are split 70/15/15; a condition is in test if any target is a test gene, else in val \
                 if any is a val gene, else in train; {CONTROLS}"
            ),
            Scheme::Doubles => format!(
                "all single perturbations and half of the doubles train; the other doubles are halved into val and \
                 test; combinations of three or more are in test; {CONTROLS}"
            ),
            Scheme::Context => format!(
                "perturbed cells of context `{}` are in test; those of the other contexts are split 85/15 into train \
                 and val inside every (context, perturbation); {CONTROLS}, the held-out one among them",
                hold_out.unwrap_or_default()
            ),
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
        let known = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
        known.ok_or_else(|| SplitError::UnknownScheme { name: name.to_owned() })
    }
}
