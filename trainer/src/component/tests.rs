use serde::{Deserialize, Serialize};

use super::*;

/// A role to test with.
struct Lamp;

type Build = fn(&Table) -> Result<f64, String>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bulb {
    watts: f64,
    sockets: Vec<i64>,
}

impl Default for Bulb {
    fn default() -> Self {
        Self { watts: 40.0, sockets: vec![14, 27] }
    }
}

impl Settings for Bulb {
    fn check(&self) -> Result<(), String> {
        if self.watts > 0.0 { Ok(()) } else { Err(format!("watts = {} must be positive", self.watts)) }
    }
}

impl Role for Lamp {
    const SECTION: &'static str = "room.lamp";
    type Build = Build;

    fn table() -> &'static [Member<Self>] {
        static TABLE: [Member<Lamp>; 2] = [
            Member::<Lamp>::new::<Bulb>("bulb", "B1", |table| Ok(read::<Bulb>(table)?.watts)),
            Member::<Lamp>::new::<NoSettings>("candle", "B2", |_| Ok(0.0)),
        ];
        &TABLE
    }

    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[("b1", "bulb")]
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Room {
    #[serde(default)]
    lamp: Choice<Lamp>,
}

fn parse(text: &str) -> Result<Room, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Kinds of every role with their codes.
fn all_kinds() -> Vec<(&'static str, &'static str)> {
    fn of<R: Role + ?Sized>() -> impl Iterator<Item = (&'static str, &'static str)> {
        R::table().iter().map(|member| (member.kind, member.code))
    }
    of::<dyn crate::encoder::Encoder>()
        .chain(of::<dyn crate::perturbation::PerturbationEncoder>())
        .chain(of::<dyn crate::predictor::Predictor>())
        .chain(of::<dyn crate::pretext::Pretext>())
        .chain(of::<dyn crate::loss::Loss>())
        .chain(of::<dyn crate::augmentation::Augmentation>())
        .chain(of::<dyn crate::mask::Masker>())
        .chain(of::<dyn crate::pointer::Pointer>())
        .collect()
}

#[test]
fn the_glossary_has_a_line_for_every_kind() {
    let glossary = include_str!("../../../docs/glossary.md");
    for (kind, code) in all_kinds() {
        let line = format!("| `{kind}` | {code} |");
        assert!(glossary.contains(&line), "docs/glossary.md has no line with {line}");
    }
}

#[test]
fn a_choice_is_complete_survives_writing_and_builds_what_it_says() {
    let lamp = |text: &str| parse(text).unwrap().lamp;
    assert_eq!(lamp(""), Choice::default());
    assert_eq!(lamp("lamp = 'candle'").kind(), "candle");
    assert_eq!(lamp("[lamp]\nwatts = 60"), Choice::with("bulb", &Bulb { watts: 60.0, ..Bulb::default() }).unwrap());
    for text in ["", "lamp = 'candle'", "[lamp]\nkind = 'bulb'\nsockets = [5]"] {
        let room = parse(text).unwrap();
        assert_eq!(parse(&toml::to_string(&room).unwrap()).unwrap(), room);
        let json = serde_json::to_string(&room).unwrap();
        assert_eq!(serde_json::from_str::<Room>(&json).unwrap(), room, "{json}");
    }
    let lamp = lamp("[lamp]\nwatts = 25");
    assert_eq!((lamp.build())(lamp.table()), Ok(25.0));
    assert_eq!(lamp.settings::<Bulb>().unwrap().sockets, [14, 27]);
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (text, words) in [
        ("lamp = 'bulp'", ["no kind `bulp`", "did you mean `bulb`"]),
        ("lamp = 'b1'", ["`b1` is now called", "`bulb`"]),
        ("[lamp]\nwats = 3", ["`room.lamp.wats` of kind `bulb`", "did you mean `watts`"]),
        ("[lamp]\nkind = 'candle'\nwatts = 3", ["`room.lamp.watts` of kind `candle`", "it has none"]),
        ("[lamp]\nwatts = -1.0", ["room.lamp (bulb)", "must be positive"]),
        ("[lamp]\nwatts = 'many'", ["room.lamp (bulb)", "invalid type"]),
        ("[lamp]\nkind = 3", ["room.lamp.kind", "not 3"]),
        ("lamp = 3", ["room.lamp is a table", "not 3"]),
    ] {
        let error = parse(text).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}
