use std::collections::BTreeSet;
use std::fs;

use safetensors::SafeTensors;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::fixtures::{snapshot, trained, vocabulary};
use crate::checkpoint::write;
use syncyte_fabric::collective::Solo;

/// A checkpoint of step 9 in a folder.
fn checkpoint(folder: &TempDir) -> Checkpoint {
    let trained = trained(9, &Solo);
    let limit = std::time::Duration::from_mins(1);
    Checkpoint::open(&write(folder.path(), snapshot(&trained, &Solo), limit, &Solo).unwrap().folder).unwrap()
}

#[test]
fn an_export_holds_the_teacher_as_the_encoder_and_the_students_other_parts() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("hub/model");
    let exported = export(&checkpoint(&folder), &out).unwrap();
    let names: BTreeSet<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let wanted =
        ["README.md", "config.json", "contexts.txt", "kinds.txt", "model.safetensors", "targets.txt", "vocab.txt"];
    assert_eq!(names, wanted.map(str::to_owned).into());
    assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    let state = trained(9, &Solo);
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), state.params.layout().specs().len());
    let (mut encoder, mut rest) = (0, 0);
    for (name, tensor) in state.params.named() {
        let teacher = state.teacher.as_ref().unwrap().named().find(|(other, _)| *other == name);
        *(if teacher.is_some() { &mut encoder } else { &mut rest }) += 1;
        let tensor = teacher.map_or(tensor, |(_, tensor)| tensor).detach().reshape([-1]);
        let values = Vec::<f32>::try_from(&tensor).unwrap();
        assert_eq!(read.tensor(name).unwrap().data(), bytemuck::cast_slice::<f32, u8>(&values), "{name}");
    }
    assert!(encoder > 5 && rest > 5, "{encoder} and {rest} parameters");
    assert_eq!((exported.step, exported.parameters), (9, state.params.layout().n_parameters()));
}

#[test]
fn its_config_card_and_names_say_what_the_checkpoint_is() {
    let folder = TempDir::new().unwrap();
    let (checkpoint, out) = (checkpoint(&folder), folder.path().join("out"));
    // An empty folder may be there.
    fs::create_dir(&out).unwrap();
    export(&checkpoint, &out).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    assert_eq!(config["model_type"], "syncyte-jepa");
    assert_eq!((&config["hidden_size"], &config["num_attention_heads"]), (&json!(4), &json!(2)));
    assert_eq!(config["parameter_hash"], checkpoint.state.parameter_hash);
    assert_eq!(read("vocab.txt").lines().collect::<Vec<_>>(), vocabulary().genes);
    assert_eq!(read("targets.txt").lines().collect::<Vec<_>>(), vocabulary().targets);
    let card = read("README.md");
    let front = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap().0;
    for line in ["library_name: syncyte", "license: other", "license_name: unknown", "- perturb-seq"] {
        assert!(front.lines().any(|found| found == line), "{front}");
    }
    for part in [&checkpoint.state.data_hash, &checkpoint.state.config_hash, "step 9 of 100"] {
        assert!(card.contains(part), "{card}");
    }
}

#[test]
fn what_is_in_the_way_is_refused_by_name_and_not_touched() {
    let folder = TempDir::new().unwrap();
    let checkpoint = checkpoint(&folder);
    let (file, full) = (folder.path().join("file"), folder.path().join("full"));
    fs::write(&file, "mine").unwrap();
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "mine").unwrap();
    for path in [&file, &full] {
        let error = export(&checkpoint, path).unwrap_err();
        assert!(matches!(&error, CheckpointError::Occupied { path: named } if Path::new(named) == path), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(fs::read_to_string(full.join("mine")).unwrap(), "mine");
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let mut checkpoint = checkpoint(&folder);
    checkpoint.state.vocabulary.kinds[0] = "two\nlines".into();
    let out = folder.path().join("out");
    let error = export(&checkpoint, &out).unwrap_err().to_string();
    assert!(error.contains("two\\nlines"), "{error}");
    assert!(!out.exists() && !folder.path().join(".out.partial").exists());
}
