//! Components by their kind: one static table a role, and the configuration that each kind owns.
//!
//! Guarantee: a [`Choice`] names a kind that is in its role's table, and its settings have been checked by that kind. A key
//! that the chosen kind does not have is refused with the nearest one that it has; an old name with the one it has now.
//!
//! A section of the configuration is a table with the key `kind` (the role's first kind where it is left out), or the name
//! of a kind alone where all its defaults will do.

mod choice;
mod declare;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

pub use choice::Choice;
pub use declare::Declare;

/// What a kind is configured by: its keys are the fields, its defaults those of the type.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned {
    /// Checks the values.
    ///
    /// # Errors
    /// The first value at fault: its key, and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Nothing to configure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct NoSettings {}

impl Settings for NoSettings {}

/// A part of a model or a training that there are several kinds of.
pub trait Role: 'static {
    /// Section of the configuration that chooses one, e.g. `model.encoder`.
    const SECTION: &'static str;

    /// How a member is built from its settings.
    type Build: Copy + 'static;

    /// All kinds, the default first.
    fn table() -> &'static [Member<Self>];

    /// Names that kinds had before, with those of today.
    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// A kind of a role: a line in its table.
pub struct Member<R: Role + ?Sized> {
    /// Name in the configuration.
    pub kind: &'static str,
    /// Its code in the glossary of the documentation.
    pub code: &'static str,
    defaults: fn() -> Result<Table, String>,
    check: fn(&Table) -> Result<(), String>,
    /// Builds one.
    pub build: R::Build,
}

impl<R: Role + ?Sized> Member<R> {
    /// A kind whose settings are of type `S`.
    pub const fn new<S: Settings>(kind: &'static str, code: &'static str, build: R::Build) -> Self {
        Self { kind, code, defaults: to_table::<S>, check: check::<S>, build }
    }
}

impl<R: Role + ?Sized> fmt::Debug for Member<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.code)
    }
}

fn to_table<S: Settings>() -> Result<Table, String> {
    Table::try_from(S::default()).map_err(|error| error.to_string())
}

fn check<S: Settings>(table: &Table) -> Result<(), String> {
    read::<S>(table)?.check()
}

/// The settings of a kind out of its table.
pub(crate) fn read<S: Settings>(table: &Table) -> Result<S, String> {
    table.clone().try_into().map_err(|error: toml::de::Error| error.message().trim().replace('\n', " "))
}

#[cfg(test)]
mod tests;
