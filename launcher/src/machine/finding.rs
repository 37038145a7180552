//! One thing that was looked for.

use serde_json::{Map, Value, json};

/// Whether a thing is there, and if not, how to get it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Name, also the JSON key.
    pub(crate) name: &'static str,
    /// What it is, or what was looked for in vain.
    pub(crate) detail: String,
    /// How to get it; `None` when it is there.
    pub(crate) remedy: Option<&'static str>,
    /// Further facts for programs.
    pub(crate) facts: Map<String, Value>,
}

impl Finding {
    /// A thing that is there.
    pub(crate) fn found(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, detail: detail.into(), remedy: None, facts: Map::new() }
    }

    /// A thing that is not.
    pub(crate) fn missing(name: &'static str, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self { name, detail: detail.into(), remedy: Some(remedy), facts: Map::new() }
    }

    /// Adds a fact.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(key.to_owned(), value.into());
        self
    }

    /// The JSON value under [`Finding::name`].
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::from_iter([
            ("found".to_owned(), json!(self.remedy.is_none())),
            ("detail".to_owned(), json!(self.detail)),
            ("remedy".to_owned(), json!(self.remedy)),
        ]);
        object.extend(self.facts.clone());
        Value::Object(object)
    }

    /// One or two lines for people.
    pub(crate) fn to_text(&self) -> String {
        let state = if self.remedy.is_some() { "missing" } else { "found" };
        let line = format!("{:<11}{state:<9}{}", self.name, self.detail);
        match self.remedy {
            Some(remedy) => format!("{line}\n{:20}→ {remedy}", ""),
            None => line,
        }
    }
}
