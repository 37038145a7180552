//! Names most like another, for messages about a name that is not there.

/// How alike two names are, upper and lower case alike: 1 where equal, 0 where nothing agrees.
pub(crate) fn likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&one.to_uppercase(), &other.to_uppercase())
}

/// Names, those most like `name` first.
pub(crate) fn by_likeness<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = names.into_iter().map(|other| (likeness(name, other), other)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().map(|(_, name)| name).collect()
}
