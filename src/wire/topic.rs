//! MQTT topic filters: which topics one matches (MQTT 3.1.1 section 4.7).

/// Longest topic in bytes: its length is sent in 16 bits (MQTT 3.1.1 section 1.5.3).
const TOPIC_BYTES_MAX: usize = 65_535;

/// A topic filter, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    text: String,
    /// Where the filter proper begins, after `$share/group/`.
    start: usize,
}

impl std::str::FromStr for Filter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("the topic filter `{text}` {why}"));
        let start = match text.strip_prefix("$share/") {
            Some(rest) => match rest.split_once('/') {
                Some((group, _)) if !group.is_empty() && !group.contains(['+', '#']) => {
                    "$share/".len() + group.len() + 1
                }
                _ => return wrong("lacks its group or its filter: $share/group/filter"),
            },
            None => 0,
        };
        let filter = &text[start..];
        if filter.is_empty() {
            return wrong("is empty");
        }
        if text.len() > TOPIC_BYTES_MAX {
            return Err(format!("a topic filter is at most {TOPIC_BYTES_MAX} bytes long"));
        }
        if text.contains('\0') {
            return wrong("has a NUL character");
        }
        let levels: Vec<_> = filter.split('/').collect();
        for (at, level) in levels.iter().enumerate() {
            if level.contains('#') && (*level != "#" || at + 1 < levels.len()) {
                return wrong("may have `#` only as its whole last level");
            }
            if level.contains('+') && *level != "+" {
                return wrong("may have `+` only as a whole level");
            }
        }
        Ok(Self { text: text.to_owned(), start })
    }
}

impl Filter {
    /// As written, and as subscribed to.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a topic matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let filter = &self.text[self.start..];
        // Section 4.7.2: a wildcard in the first place does not match the server's own topics.
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in filter.split('/') {
            match (wanted, levels.next()) {
                // `a/#` matches `a` as well.
                ("#", _) | ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
            if wanted == "#" {
                return true;
            }
        }
        levels.next().is_none()
    }

    /// How many levels each topic it matches has; `None` where `#` lets there be any number.
    #[must_use]
    pub fn levels(&self) -> Option<usize> {
        let filter = &self.text[self.start..];
        (!filter.ends_with('#')).then(|| filter.split('/').count())
    }
}

/// Whether a text can be published to: not empty, no wildcards, not too long.
///
/// # Errors
/// What is wrong with it.
pub fn check_topic(topic: &str) -> Result<(), String> {
    if topic.is_empty() {
        Err("a topic must not be empty".into())
    } else if topic.len() > TOPIC_BYTES_MAX {
        Err(format!("a topic is at most {TOPIC_BYTES_MAX} bytes long"))
    } else if topic.contains(['+', '#', '\0']) {
        Err(format!("the topic `{topic}` must not have `+`, `#` or NUL in it"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(filter: &str, topic: &str) -> bool {
        filter.parse::<Filter>().unwrap().matches(topic)
    }

    /// The examples of MQTT 3.1.1 sections 4.7.1.2, 4.7.1.3 and 4.7.2.
    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("+/tennis/#", "a/tennis"),
            ("$SYS/#", "$SYS/uptime"),
            ("$share/workers/a/+", "a/b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/uptime"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("a/b", "a/B"),
            ("a/b", "a"),
            ("a", "a/b"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn wrong_filters_are_told() {
        for wrong in [
            "",
            "a/#/b",
            "a#",
            "a+",
            "+a/b",
            "a/b+/c",
            "a\0",
            "$share/",
            "$share/g",
            "$share//a",
            "##",
        ] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong:?}");
        }
        assert_eq!(
            "a/#/b".parse::<Filter>().unwrap_err(),
            "the topic filter `a/#/b` may have `#` only as its whole last level"
        );
    }

    proptest! {
        #[test]
        fn a_topic_matches_itself_and_everything(topic in "[a-c/]{1,12}") {
            prop_assert!(matches(&topic, &topic));
            prop_assert!(matches("#", &topic));
            let wild: Vec<_> = topic.split('/').map(|_| "+").collect();
            prop_assert!(matches(&wild.join("/"), &topic));
        }

        #[test]
        fn any_text_is_a_filter_or_an_error(text in "[ab+#/$]{0,12}", topic in "[ab/$]{0,12}") {
            // A filter without wildcards matches itself alone.
            if let Ok(filter) = text.parse::<Filter>() && filter.matches(&topic) {
                prop_assert!(text.contains(['+', '#']) || text.ends_with(&topic));
            }
        }
    }
}
