//! Text in figures: how wide it is about to be, how numbers read, and how it is escaped.

/// Estimated width of a line of text. Generous, since the reader's font is not known here.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// Width of a character in units of the font size.
fn em(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '\'' | '|' | '!' => 0.29,
        ' ' | '.' | ',' | ':' | ';' | 'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '/' | '-' => 0.40,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '—' | '→' => 0.98,
        '+' | '=' | '<' | '>' | '−' | '≥' | '≤' => 0.80,
        character if character.is_uppercase() => 0.74,
        _ => 0.63,
    }
}

/// The text, cut to a width with an ellipsis where it is longer.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    for character in text.chars() {
        if width(&cut, size) + (em(character) + em('…')) * size > room {
            break;
        }
        cut.push(character);
    }
    cut.push('…');
    cut
}

/// The text with the characters that mean something in markup replaced, and those that XML forbids left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

/// A number with so many decimals and a real minus sign.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().any(|digit| digit.is_ascii_digit() && digit != '0') => format!("−{digits}"),
        Some(digits) => digits.to_owned(),
        None => text,
    }
}

/// A number as powers of ten, e.g. `1.5e−4`.
pub(crate) fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}e{exponent}").replace('-', "−")
}

/// A tick, with the decimals that its distance to the next one needs.
pub(crate) fn tick(value: f64, step: f64, largest: f64) -> String {
    if value.abs() <= largest * 1e-9 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&largest) {
        return scientific(value, 1);
    }
    let decimals = (-(step.abs() * 1.000_001).log10().floor()).clamp(0.0, 6.0) as usize;
    group(&fixed(value, decimals))
}

/// Puts a thin space between groups of three digits from 10 000 on.
pub(crate) fn group(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('−').map_or(("", number), |digits| ("−", digits));
    let (whole, rest) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    if whole.len() < 5 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_escaped() {
        assert_eq!(escape(r#"<b a="x">&'"#), "&lt;b a=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(escape("a\u{0}b\u{7}c"), "abc");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(fixed(-0.126, 2), "−0.13");
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(scientific(0.000_15, 2), "1.5e−4");
        assert_eq!(group("1234567"), "1\u{2009}234\u{2009}567");
        assert_eq!(group("1234"), "1234");
        assert_eq!(tick(20_000.0, 5_000.0, 20_000.0), "20\u{2009}000");
    }

    #[test]
    fn long_text_is_cut_to_the_room() {
        let cut = fit("a_very_long_perturbation_name", 11.0, 80.0);
        assert!(cut.ends_with('…') && width(&cut, 11.0) <= 80.0);
        assert_eq!(fit("short", 11.0, 80.0), "short");
    }
}
