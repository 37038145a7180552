//! Mutations of bytes and of JSON.

use serde_json::{Value, json};
use syncyte_sharding::philox::Philox;

/// One of some things.
pub(crate) fn one_of<'a, T>(random: &mut Philox, things: &'a [T]) -> &'a T {
    &things[random.below(things.len() as u64) as usize]
}

/// Numbers that code is often wrong about.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    65_535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    1 << 60,
    i64::MAX as u64,
    u64::MAX,
];

/// Changes a few bytes, lengths among them.
pub(crate) fn bytes(random: &mut Philox, content: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let length = content.len() as u64;
        let at = random.below(length.max(1)) as usize;
        match random.below(8) {
            _ if content.is_empty() => content.extend((0..random.below(40)).map(|_| random.next_u32() as u8)),
            0 => content[at] ^= 1 << random.below(8),
            1 => content[at] = random.next_u32() as u8,
            2 => content.truncate(at),
            3 => content.extend((0..=random.below(40)).map(|_| random.next_u32() as u8)),
            4 => {
                let part: Vec<u8> = content[at..].iter().copied().take(random.below(64) as usize).collect();
                let to = random.below(length) as usize;
                content.splice(to..to, part);
            }
            5 => {
                let end = (at + random.below(64) as usize).min(content.len());
                content.drain(at..end);
            }
            size => {
                // A number where headers and indices keep theirs: at the beginning or the end.
                let width = if size == 6 { 4 } else { 8 };
                let number = one_of(random, &NUMBERS).to_le_bytes();
                let place = random.below(64).min(length.saturating_sub(8)) as usize;
                let place = if random.below(2) == 0 { place } else { content.len().saturating_sub(place + width) };
                for (to, from) in content[place..].iter_mut().zip(&number[..width]) {
                    *to = *from;
                }
            }
        }
    }
}

/// Changes a few values of a JSON text, or its bytes.
pub(crate) fn json_text(random: &mut Philox, text: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return text.to_vec() };
    if random.below(8) == 0 {
        let mut text = text.to_vec();
        bytes(random, &mut text);
        return text;
    }
    let donor = value.clone();
    for _ in 0..=random.below(2) {
        let nodes = count(&value);
        let at = random.below(nodes as u64) as usize;
        change(random, &mut value, &mut { at }, &donor);
    }
    serde_json::to_vec(&value).unwrap()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes node `at`, counted in depth-first order.
fn change(random: &mut Philox, value: &mut Value, at: &mut usize, donor: &Value) -> bool {
    if *at == 0 {
        replace(random, value, donor);
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change(random, item, at, donor)),
        Value::Object(fields) => fields.values_mut().any(|field| change(random, field, at, donor)),
        _ => false,
    }
}

fn replace(random: &mut Philox, value: &mut Value, donor: &Value) {
    let choice = random.below(12);
    match value {
        Value::Array(items) if choice < 4 => match (choice, items.len()) {
            (0, 1..) => drop(items.remove(random.below(items.len() as u64) as usize)),
            (1, 1..) => items.push(one_of(random, items).clone()),
            (2, _) => items.reverse(),
            _ => items.push(json!(one_of(random, &NUMBERS))),
        },
        Value::Object(fields) if choice < 8 && !fields.is_empty() => {
            let key = fields.keys().nth(random.below(fields.len() as u64) as usize).unwrap().clone();
            fields.remove(&key);
        }
        Value::Number(number) if choice < 4 => {
            // Close to what was there.
            let old = number.as_u64().unwrap_or(1);
            *value = json!(*one_of(random, &[old.wrapping_add(1), old.wrapping_sub(1), old.wrapping_mul(2), old / 2]));
        }
        _ => *value = fresh(random, donor),
    }
}

fn fresh(random: &mut Philox, donor: &Value) -> Value {
    match random.below(10) {
        0..=3 => json!(one_of(random, &NUMBERS)),
        4 => json!(-(random.below(5) as i64)),
        5 => one_of(random, &[json!(0.5), json!(1e300), json!("NaN"), json!(""), json!("0x7fc00000")]).clone(),
        6 => one_of(random, &[Value::Null, json!(true), json!([]), json!({}), json!([[0]])]).clone(),
        7 => {
            let words = [
                "int8",
                "uint64",
                "float64",
                "bool",
                "string",
                "blosc",
                "gzip",
                "zstd",
                "crc32c",
                "bytes",
                "sharding_indexed",
                "transpose",
                "start",
                "big",
                "v2",
                ".",
                "/",
                "regular",
                "csc_matrix",
                "categorical",
            ];
            json!(one_of(random, &words))
        }
        _ => {
            let at = random.below(count(donor) as u64) as usize;
            node(donor, &mut { at }).cloned().unwrap_or_default()
        }
    }
}

fn node<'a>(value: &'a Value, at: &mut usize) -> Option<&'a Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| node(item, at)),
        Value::Object(fields) => fields.values().find_map(|field| node(field, at)),
        _ => None,
    }
}
