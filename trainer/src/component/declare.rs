//! Where components of a model declare their parameters.

use crate::batch::vocabulary::Vocabulary;
use crate::params::{Group, Registry};

/// Where a component declares its parameters, and the names that it is built for.
#[derive(Debug)]
pub struct Declare<'a> {
    /// Collects the parameters.
    pub registry: &'a mut Registry,
    /// Group that they belong to.
    pub group: Group,
    /// Names that the model knows.
    pub vocabulary: &'a Vocabulary,
}
