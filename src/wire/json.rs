//! Values out of JSON by JSON Pointer (RFC 6901), in one pass and without building a tree.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::value::Value;

/// A set of JSON Pointers, compiled; each is known by its place in the list it was made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pointers {
    root: Node,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Node {
    /// The pointers that end here.
    slots: Vec<usize>,
    children: Vec<(Step, Node)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Step {
    key: String,
    /// The key as an index, for arrays.
    index: Option<usize>,
}

/// The keys a JSON Pointer goes by, unescaped.
///
/// # Errors
/// A message that says what is wrong with it.
pub fn parse_pointer(pointer: &str) -> Result<Vec<String>, String> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(format!("the JSON pointer `{pointer}` must begin with `/`"));
    };
    path.split('/')
        .map(|step| {
            let mut rest = step;
            while let Some(at) = rest.find('~') {
                rest = &rest[at + 1..];
                if !rest.starts_with(['0', '1']) {
                    return Err(format!(
                        "the JSON pointer `{pointer}` has a `~` that is neither `~0` (~) nor `~1` (/)"
                    ));
                }
            }
            Ok(step.replace("~1", "/").replace("~0", "~"))
        })
        .collect()
}

impl Pointers {
    /// Compiles pointers; see [`parse_pointer`].
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p str>) -> Result<Self, String> {
        let mut root = Node::default();
        for (slot, pointer) in pointers.into_iter().enumerate() {
            let mut node = &mut root;
            for key in parse_pointer(pointer)? {
                node = node.child_or_insert(key);
            }
            node.slots.push(slot);
        }
        Ok(Self { root })
    }

    /// Reads a document and hands over each value a pointer leads to: numbers, texts and booleans;
    /// null, objects and arrays are no values. Of a key that occurs twice both are handed over.
    ///
    /// # Errors
    /// What is wrong with the document; values that came before have been handed over.
    pub fn read<F>(&self, document: &[u8], mut found: F) -> Result<(), serde_json::Error>
    where
        F: FnMut(usize, Value<'_>),
    {
        let mut reader = serde_json::Deserializer::from_slice(document);
        Walk { node: &self.root, found: &mut found }.deserialize(&mut reader)?;
        reader.end()
    }
}

impl Node {
    fn child_or_insert(&mut self, key: String) -> &mut Self {
        let at = self.children.iter().position(|(step, _)| step.key == key).unwrap_or_else(|| {
            // RFC 6901 section 4: an index has no leading zeros and no sign.
            let index = key.parse().ok().filter(|index: &usize| index.to_string() == key);
            self.children.push((Step { key, index }, Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }
}

/// Walks the document and the tree of pointers together; what no pointer leads to is skipped.
struct Walk<'a, F> {
    node: &'a Node,
    found: &'a mut F,
}

impl<F: FnMut(usize, Value<'_>)> Walk<'_, F> {
    fn found<E>(self, value: Value<'_>) -> Result<(), E> {
        for slot in &self.node.slots {
            (self.found)(*slot, value);
        }
        Ok(())
    }
}

impl<'de, F: FnMut(usize, Value<'_>)> DeserializeSeed<'de> for Walk<'_, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(usize, Value<'_>)> Visitor<'de> for Walk<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.found(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.found(Value::Signed(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.found(Value::Unsigned(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.found(Value::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.found(Value::Text(value))
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(ChildOf(self.node))? {
            match child {
                Some(node) => map.next_value_seed(Walk { node, found: &mut *self.found })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for at in 0.. {
            let child = self.node.children.iter().find(|(step, _)| step.index == Some(at));
            let more = match child {
                Some((_, node)) => {
                    items.next_element_seed(Walk { node, found: &mut *self.found })?.is_some()
                }
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
        }
        Err(A::Error::custom("an array without end"))
    }
}

/// Reads an object's key as the child of a node it leads to, copying nothing.
struct ChildOf<'a>(&'a Node);

impl<'de, 'a> DeserializeSeed<'de> for ChildOf<'a> {
    type Value = Option<&'a Node>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for ChildOf<'a> {
    type Value = Option<&'a Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(step, _)| step.key == key).map(|(_, node)| node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pointers: &[&str], document: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        Pointers::new(pointers.iter().copied())?
            .read(document.as_bytes(), |slot, value| found.push(format!("{slot} {value:?}")))
            .map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn values_are_found_wherever_they_are() {
        let document = r#"{"a":{"b/c":[1,{"d":"21.5"}],"~":true},"x":-2.5,"n":null,"e":{}}"#;
        assert_eq!(
            read(&["/x", "/a/b~1c/1/d", "/a/~0", "/n", "/a", "/a/b~1c/0", "/missing"], document),
            Ok(vec![
                "5 Unsigned(1)".into(),
                "1 Text(\"21.5\")".into(),
                "2 Bool(true)".into(),
                "0 Number(-2.5)".into()
            ])
        );
        assert_eq!(read(&[""], " 7 "), Ok(vec!["0 Unsigned(7)".into()]));
        assert_eq!(read(&["/\u{e9}"], r#"{"\u00e9":-1}"#), Ok(vec!["0 Signed(-1)".into()]));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in ["", "{", r#"{"t":1"#, r#"{"t":1}}"#, "{t:1}", "21.5 C", &"[".repeat(100_000)]
        {
            assert!(read(&["/t"], wrong).is_err(), "{}", &wrong[..wrong.len().min(20)]);
        }
    }

    #[test]
    fn a_wrong_pointer_is_told() {
        assert_eq!(parse_pointer("t"), Err("the JSON pointer `t` must begin with `/`".into()));
        assert!(parse_pointer("/a~2").is_err());
        assert!(parse_pointer("/a~").is_err());
        assert_eq!(parse_pointer("/~01/"), Ok(vec!["~1".into(), String::new()]));
    }

    /// Any document, its numbers and texts and keys among them.
    fn documents() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value as Json;
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e9..1e9f64).prop_map(|number| Json::from((number * 8.0).round() / 8.0 + 0.125)),
            any::<String>().prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                proptest::collection::btree_map("[a-b0-1~/\"\\\\\u{1}é]{0,4}", inner, 0..6)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Every value in a document that is neither null nor made of others, with its pointer.
    fn scalars(
        document: &serde_json::Value,
        at: String,
        found: &mut Vec<(String, serde_json::Value)>,
    ) {
        match document {
            serde_json::Value::Null => {}
            serde_json::Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    scalars(item, format!("{at}/{index}"), found);
                }
            }
            serde_json::Value::Object(entries) => {
                for (key, value) in entries {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    scalars(value, format!("{at}/{key}"), found);
                }
            }
            scalar => found.push((at, scalar.clone())),
        }
    }

    fn shown(value: Value<'_>) -> String {
        match value {
            Value::Number(number) => serde_json::Value::from(number).to_string(),
            Value::Unsigned(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Bool(bool) => bool.to_string(),
            Value::Text(text) => serde_json::Value::from(text).to_string(),
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let pointers = Pointers::new(["", "/a", "/0"]).unwrap();
            drop(pointers.read(&bytes, |_, _| ()));
        }

        #[test]
        fn texts_and_numbers_are_those_serde_json_has(document in documents()) {
            let mut values = Vec::new();
            scalars(&document, String::new(), &mut values);
            let pointers = Pointers::new(values.iter().map(|(pointer, _)| pointer.as_str())).unwrap();
            for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
                let mut found = vec![None; values.len()];
                pointers.read(text.as_bytes(), |slot, value| found[slot] = Some(shown(value))).unwrap();
                for ((pointer, value), found) in values.iter().zip(found) {
                    prop_assert_eq!(found, Some(value.to_string()), "{} of {}", pointer, text);
                }
            }
        }

        #[test]
        fn what_serde_json_finds_is_found(number in -1e9..1e9f64, key in "[a-z~/é\"\\\\ ]{1,8}") {
            let text = serde_json::json!({ "other": [1, { "x": {} }], &key: { "v": number } }).to_string();
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            let pointer = format!("/{}/v", key.replace('~', "~0").replace('/', "~1"));
            let mut found = None;
            Pointers::new([pointer.as_str()]).unwrap()
                .read(text.as_bytes(), |_, value| found = value.number())
                .unwrap();
            prop_assert_eq!(found, document.pointer(&pointer).and_then(serde_json::Value::as_f64));
        }
    }
}
