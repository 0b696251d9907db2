use proptest::prelude::*;

use super::*;

fn question(name: &str, kind: RecordType) -> Question {
    Question { name: name.parse().unwrap(), kind }
}

/// A response to `question` with these records: type and data.
fn response(question: &Question, id: u16, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = question.encode(id);
    message[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        message.extend_from_slice(&[0xc0, 12]);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

fn data(kind: u16, data: &[u8]) -> Result<String, DnsError> {
    let question = question("example.org", RecordType::A);
    Answer::decode(&response(&question, 1, 0, &[(kind, data)]))
        .map(|answer| answer.records[0].clone())
}

#[test]
fn a_question_looks_as_rfc_1035_draws_it() {
    assert_eq!(
        question("a.example", RecordType::Aaaa).encode(0x1234),
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x1c\x00\x01"
    );
}

#[test]
fn names_have_their_limits() {
    let long = format!("{}.org", "x".repeat(64));
    let many = ["abcdefg"; 32].join(".");
    for wrong in ["a..b", ".a", &long, &many, "bücher.example"] {
        assert_eq!(wrong.parse::<Name>(), Err(DnsError::NotAName), "{wrong}");
    }
    assert_eq!(".".parse::<Name>().unwrap().to_string(), ".");
    assert_eq!("Example.ORG".parse::<Name>().unwrap().to_string(), "Example.ORG.");
}

#[test]
fn addresses_have_names() {
    let name = |address: &str| Name::from(address.parse::<IpAddr>().unwrap()).to_string();
    assert_eq!(name("192.0.2.1"), "1.2.0.192.in-addr.arpa.");
    assert!(name("2001:db8::1").starts_with("1.0.0.0."));
    assert!(name("2001:db8::1").ends_with(".8.b.d.0.1.0.0.2.ip6.arpa."));
}

#[test]
fn every_type_reads_as_zone_files_write_it() {
    let table: &[(u16, &[u8], &str)] = &[
        (1, &[192, 0, 2, 1], "192.0.2.1"),
        (28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
        (2, b"\x02ns\xc0\x0c", "ns.example.org."),
        (5, b"\x03www\x00", "www."),
        (12, b"\x00", "."),
        (15, b"\x00\x0a\x04mail\xc0\x0c", "10 mail.example.org."),
        (33, b"\x00\x01\x00\x02\x01\xbb\x01s\x00", "1 2 443 s."),
        (16, b"\x05v=spf\x041 ~a", "v=spf1 ~a"),
        (257, b"\x00\x05issueca.example", "0 issue \"ca.example\""),
        (65_280, &[1, 0xab], "\\# 2 01ab"),
        (5, b"\x04a.\\\x07\x00", "a\\.\\\\\\007."),
    ];
    for (kind, bytes, text) in table {
        assert_eq!(data(*kind, bytes).as_deref(), Ok(*text));
    }
    let mut soa = b"\x02ns\x00\x04root\x00".to_vec();
    soa.extend([1u32, 2, 3, 4, 5].iter().flat_map(|n| n.to_be_bytes()));
    assert_eq!(data(6, &soa).unwrap(), "ns. root. 1 2 3 4 5");
}

#[test]
fn data_that_is_not_as_long_as_it_says_is_refused() {
    for (kind, bytes) in
        [(1u16, &[1u8, 2, 3][..]), (1, &[1, 2, 3, 4, 5]), (16, &[9, 1]), (15, &[0])]
    {
        assert_eq!(data(kind, bytes), Err(DnsError::Truncated));
    }
}

#[test]
fn pointers_that_do_not_lead_backwards_are_refused() {
    // The data begins at 41: the pointers lead to themselves, forwards, and in a circle.
    for bytes in [&b"\xc0\x29"[..], b"\xc0\x2b\x01a\x00", b"\x01a\xc0\x29", b"\xff\xff"] {
        assert_eq!(data(5, bytes), Err(DnsError::BadName), "{bytes:?}");
    }
}

#[test]
fn only_the_answer_to_the_question_is_one() {
    let asked = question("example.org", RecordType::A);
    let decode = |message: &[u8]| Answer::decode(message).unwrap();
    let good = response(&asked, 7, 0, &[]);
    assert!(asked.is_answered_by(7, &decode(&good)));
    assert!(asked.is_answered_by(7, &decode(&good.to_ascii_uppercase())));
    assert!(!asked.is_answered_by(8, &decode(&good)));
    assert!(!asked.is_answered_by(7, &decode(&asked.encode(7))));
    let other = question("example.com", RecordType::A);
    assert!(!asked.is_answered_by(7, &decode(&response(&other, 7, 0, &[]))));
    let kind = question("example.org", RecordType::Mx);
    assert!(!asked.is_answered_by(7, &decode(&response(&kind, 7, 0, &[]))));
    let bare = |flags: [u8; 2]| decode(&[0, 7, flags[0], flags[1], 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(asked.is_answered_by(7, &bare([0x80, 1])));
    assert!(!asked.is_answered_by(7, &bare([0x80, 0])));
}

#[test]
fn a_truncated_answer_says_so_and_more_than_enough_is_refused() {
    let asked = question("example.org", RecordType::A);
    let cut = Answer::decode(&response(&asked, 1, 0x0200, &[(1, &[1])])).unwrap();
    assert!(cut.is_truncated && cut.records.is_empty());
    let mut many = response(&asked, 1, 0, &[]);
    many[6..8].copy_from_slice(&2_000u16.to_be_bytes());
    assert_eq!(Answer::decode(&many), Err(DnsError::TooMany));
    assert_eq!(response_code_name(3), "NXDOMAIN");
    assert_eq!(response_code_name(9), "RCODE9");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(message in prop::collection::vec(any::<u8>(), 0..600)) {
        drop(Answer::decode(&message));
    }

    #[test]
    fn no_damage_makes_it_panic_or_grow(
        kind in prop::sample::select(vec![1u16, 2, 5, 6, 12, 15, 16, 28, 33, 257, 99]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let asked = question("www.example.org", RecordType::A);
        let mut message = response(&asked, 1, 0, &[(kind, &bytes), (kind, &bytes)]);
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        if let Ok(answer) = Answer::decode(&message) {
            // Two names of 255 bytes, each byte escaped to four, and some numbers.
            prop_assert!(answer.records.iter().all(|record| record.len() <= 2_200));
        }
    }

    #[test]
    fn names_survive_the_wire(labels in prop::collection::vec("[a-zA-Z0-9_-]{1,20}", 0..8)) {
        let text = labels.join(".");
        let asked = question(&text, RecordType::Txt);
        let answer = Answer::decode(&response(&asked, 9, 0, &[])).unwrap();
        prop_assert!(asked.is_answered_by(9, &answer));
        prop_assert_eq!(answer.question.unwrap().0.to_string(), format!("{text}."));
    }
}
