//! What is needed to run the numbers again.

use crate::content::Content;
use crate::page::markup::{details, escape, facts};
use crate::provenance::{identity, stages};

/// Hashes, data, stage times, machine and configuration.
pub(crate) fn section(content: &Content<'_>) -> String {
    let (inputs, results) = (content.inputs, &content.inputs.results);
    let mut html = vec![facts(identity(results).iter().map(|(name, value)| (*name, value.as_str())))];
    html.push(String::from("<h3>Data</h3>\n"));
    let data = &results.provenance.data;
    if data.is_empty() {
        html.push(String::from("<p class=\"missing\">The results record no facts about the data.</p>\n"));
    }
    html.push(facts(data.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    html.push(String::from("<h3>Wall time</h3>\n"));
    let times = stages(results);
    if times.is_empty() {
        html.push(String::from("<p class=\"missing\">The results record no stage times.</p>\n"));
    }
    html.push(facts(times.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    match &inputs.environment {
        Some(environment) => {
            let rows = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            html.push(details("Environment", &facts(rows)));
        }
        None => html.push(missing("environment.json", "the machine and the libraries")),
    }
    match &inputs.config {
        Some(config) => html.push(details("Configuration", &format!("<pre>{}</pre>", escape(config)))),
        None => html.push(missing("config.toml", "the resolved configuration")),
    }
    html.concat()
}

fn missing(file: &str, what: &str) -> String {
    format!(
        "<p class=\"missing\">The run folder has no <code>{file}</code> with {what}: <code>syncyte pretrain</code> writes it.</p>\n"
    )
}
