//! `verify --json`, and the page that describes it.
use crate::store::{Store, filled};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn rows(page: &str, title: &str) -> BTreeSet<String> {
    let table = page.split(&format!("\n| {title} |")).nth(1).unwrap().split("\n\n").next().unwrap();
    table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn one_object_with_the_fields_of_the_page() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify.md")).unwrap();
    let store = Store::copy(&filled(2), "");
    let ended = store.verify(&["--json"]);
    let value: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str(), &value["ok"]), (0, "", &Value::Bool(true)));
    assert_eq!(keys(&value), rows(&page, "field"));
    assert_eq!((&value["sealed"], &value["files"], &value["records"]), (&2.into(), &3.into(), &12.into()));
    let file = &store.files()[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[0] = b'x';
    fs::write(file, bytes).unwrap();
    let ended = store.verify(&["--json"]);
    let value: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &value["ok"]), (1, &Value::Bool(false)));
    let problem = &value["problems"][0];
    assert_eq!(keys(problem), rows(&page, "of a problem"));
    assert_eq!(
        (&problem["file"], &problem["line"], &problem["byte"], &problem["kind"]),
        (&super::name(file).into(), &1.into(), &0.into(), &"record".into())
    );
    assert_eq!(value["problem_count"], value["problems"].as_array().unwrap().len());
    let kinds = echostored::tools::verify::Kind::ALL.map(|kind| serde_json::to_value(kind).unwrap());
    let kinds: BTreeSet<String> = kinds.iter().map(|kind| kind.as_str().unwrap().to_owned()).collect();
    assert_eq!(rows(&page, "kind"), kinds);
}
