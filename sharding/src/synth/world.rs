//! The ladder of worlds, from nothing to learn to nearly a real screen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SynthError;

/// How hard the planted truth is, and what honest answer it has. From W2 on each world adds to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum World {
    /// No information: every condition, doubles included, has an effect of its own that nothing else tells of,
    /// and targets do not fall. The honest answer for an unseen condition is the mean.
    W0,
    /// Linear-Gaussian: log-normalised expression is a mean plus Gaussian states and noise, and doubles are the
    /// exact sum of their singles. No library, lane or batch effects.
    W1,
    /// Negative-binomial counts with library, lane and batch effects; doubles are additive, buffering or
    /// neomorphic.
    W2,
    /// Two guides a condition, which differ in efficiency and in the share of cells that escape them, and a cell
    /// cycle.
    W3,
    /// A sparse gene network that carries the fall of a target on to other genes, with saturation.
    W4,
    /// Effects that differ between cell lines, and modules that only some lines have.
    W5,
}

impl World {
    /// All worlds.
    pub const ALL: [Self; 6] = [Self::W0, Self::W1, Self::W2, Self::W3, Self::W4, Self::W5];

    /// Whether cells are negative-binomial counts with library, lane and batch effects.
    pub(super) fn has_counts(self) -> bool {
        self != Self::W1
    }

    /// Whether effects can be foretold from anything.
    pub(super) fn has_information(self) -> bool {
        self != Self::W0
    }

    /// Whether doubles depart from the sum of their singles.
    pub(super) fn has_interactions(self) -> bool {
        self >= Self::W2
    }

    /// Whether guides differ and cells escape them.
    pub(super) fn has_guides(self) -> bool {
        self >= Self::W3
    }

    /// Whether cells go through a cycle.
    pub(super) fn has_cycle(self) -> bool {
        self >= Self::W3
    }

    /// Whether the gene network carries effects on.
    pub(super) fn has_network(self) -> bool {
        self >= Self::W4
    }

    /// Whether effects differ between contexts.
    pub(super) fn has_specific_effects(self) -> bool {
        self >= Self::W5
    }
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl FromStr for World {
    type Err = SynthError;

    fn from_str(name: &str) -> Result<Self, SynthError> {
        let named = Self::ALL.into_iter().find(|world| world.to_string().eq_ignore_ascii_case(name));
        named.ok_or_else(|| SynthError::UnknownWorld { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::World;

    #[test]
    fn worlds_are_named_in_either_case_and_an_unknown_one_with_those_that_are() {
        assert_eq!("w1".parse::<World>().unwrap(), World::W1);
        assert!(World::ALL.iter().all(|world| world.to_string().parse::<World>().unwrap() == *world));
        let error = "W7".parse::<World>().unwrap_err().to_string();
        assert!(error.contains("W7") && error.contains("W5"), "{error}");
    }
}
