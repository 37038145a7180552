//! One kind of a role with its settings, as it stands in a configuration.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::{Member, Role, Settings, read};

/// Key that names the kind.
const KIND: &str = "kind";

/// A kind of a role and its settings, complete and checked.
pub struct Choice<R: Role + ?Sized> {
    member: &'static Member<R>,
    settings: Table,
}

impl<R: Role + ?Sized> Choice<R> {
    /// A kind with its defaults.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn of_kind(kind: &str) -> Result<Self, String> {
        Self::new(Some(kind), Table::new())
    }

    /// A kind with all of its settings.
    ///
    /// # Errors
    /// When there is no such kind, or the settings are not its own.
    pub fn with<S: Settings>(kind: &str, settings: &S) -> Result<Self, String> {
        Self::new(Some(kind), Table::try_from(settings).map_err(|error| error.to_string())?)
    }

    fn new(kind: Option<&str>, given: Table) -> Result<Self, String> {
        let section = R::SECTION;
        let member = match kind {
            Some(kind) => find(kind)?,
            None => R::table().first().ok_or_else(|| format!("{section} has no kinds"))?,
        };
        let mut settings = (member.defaults)()?;
        for (key, value) in given {
            match settings.get_mut(&key) {
                Some(place) => *place = widened(value, place),
                None => return Err(unknown_key(member, &key, &settings)),
            }
        }
        (member.check)(&settings).map_err(|error| format!("{section} ({}): {error}", member.kind))?;
        Ok(Self { member, settings })
    }

    /// Name of the kind.
    pub fn kind(&self) -> &'static str {
        self.member.kind
    }

    /// How one is built.
    pub fn build(&self) -> R::Build {
        self.member.build
    }

    /// The settings, to be read by [`Choice::settings`] of the kind's own code.
    pub fn table(&self) -> &Table {
        &self.settings
    }

    /// The settings as the kind's own type.
    ///
    /// # Errors
    /// When they are those of another kind.
    pub fn settings<S: Settings>(&self) -> Result<S, String> {
        read(&self.settings).map_err(|error| format!("{} ({}): {error}", R::SECTION, self.member.kind))
    }
}

/// A whole number stands for a decimal one, as `weight = 1`.
fn widened(value: Value, place: &Value) -> Value {
    match (&value, place) {
        (Value::Integer(whole), Value::Float(_)) => Value::Float(*whole as f64),
        _ => value,
    }
}

fn find<R: Role + ?Sized>(kind: &str) -> Result<&'static Member<R>, String> {
    let (section, table) = (R::SECTION, R::table());
    if let Some(member) = table.iter().find(|member| member.kind == kind) {
        return Ok(member);
    }
    if let Some((_, now)) = R::renamed().iter().find(|(before, _)| *before == kind) {
        return Err(format!("{section}: the kind `{kind}` is now called `{now}`"));
    }
    let known: Vec<&str> = table.iter().map(|member| member.kind).collect();
    let nearest = nearest(kind, known.iter().copied());
    Err(format!("{section} has no kind `{kind}`{nearest}; there are: {}", known.join(", ")))
}

fn unknown_key<R: Role + ?Sized>(member: &Member<R>, key: &str, settings: &Table) -> String {
    let (section, kind) = (R::SECTION, member.kind);
    let nearest = nearest(key, settings.keys().map(String::as_str));
    let keys: Vec<&str> = settings.keys().map(String::as_str).collect();
    let keys = if keys.is_empty() { "it has none".to_owned() } else { format!("its keys: {}", keys.join(", ")) };
    format!("unknown configuration key `{section}.{key}` of kind `{kind}`{nearest}; {keys}")
}

/// A question about the name that is nearest, where one is near.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let scored = known.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    let best = scored.min().filter(|(distance, _)| *distance <= 3.min(name.len() / 2 + 1));
    best.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

impl<R: Role + ?Sized> Default for Choice<R> {
    /// The first kind of the table with its defaults.
    fn default() -> Self {
        Self::new(None, Table::new()).unwrap_or_else(|error| unreachable!("the defaults of a role: {error}"))
    }
}

impl<R: Role + ?Sized> Clone for Choice<R> {
    fn clone(&self) -> Self {
        Self { member: self.member, settings: self.settings.clone() }
    }
}

impl<R: Role + ?Sized> PartialEq for Choice<R> {
    fn eq(&self, other: &Self) -> bool {
        self.member.kind == other.member.kind && self.settings == other.settings
    }
}

impl<R: Role + ?Sized> fmt::Debug for Choice<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.member.kind, self.settings)
    }
}

impl<R: Role + ?Sized> Serialize for Choice<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Table::from_iter([(KIND.to_owned(), Value::String(self.member.kind.to_owned()))]);
        table.extend(self.settings.clone());
        table.serialize(serializer)
    }
}

impl<'de, R: Role + ?Sized> Deserialize<'de> for Choice<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choice = match Value::deserialize(deserializer)? {
            Value::String(kind) => Self::new(Some(&kind), Table::new()),
            Value::Table(mut table) => match table.remove(KIND) {
                None => Self::new(None, table),
                Some(Value::String(kind)) => Self::new(Some(&kind), table),
                Some(other) => Err(format!("{}.kind is the name of a kind, not {other}", R::SECTION)),
            },
            other => Err(format!("{} is a table with the key `kind`, or the name of a kind, not {other}", R::SECTION)),
        };
        choice.map_err(D::Error::custom)
    }
}
