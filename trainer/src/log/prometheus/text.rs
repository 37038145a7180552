//! Lines of the exposition format.

use std::fmt::Write as _;

/// Types of metrics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// Names and values of a sample's labels.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A text that grows by one family of samples after the other.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Adds a family; nothing where it has no samples.
    pub(super) fn family<'a>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let out = &mut self.0;
        push(out, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", escape_help(help)));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape_label(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            push(out, format_args!("{name}{labels} {}\n", number(value)));
        }
    }

    /// Adds a family of one sample without labels.
    pub(super) fn value(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help, [(Labels::new(), value)]);
    }

    /// As [`Exposition::value`], nothing where there is no value.
    pub(super) fn optional(&mut self, name: &str, kind: Kind, help: &str, value: Option<f64>) {
        self.family(name, kind, help, value.map(|value| (Labels::new(), value)));
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes what it is given.
    let _ = out.write_fmt(text);
}

/// A backslash, a quote and an end of line end no label value.
pub(super) fn escape_label(value: &str) -> String {
    escape_help(value).replace('"', "\\\"")
}

/// A backslash and an end of line end no help text; quotes stand for themselves.
pub(super) fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// A number as Go's `ParseFloat` reads it, which is what the format asks for.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}
