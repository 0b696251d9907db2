//! An agent of versions 1 and 2c made for a test: it answers as it is told to, truthfully or not.

use std::net::Ipv4Addr;
use std::time::Duration;

use snmp2::asn1::{TYPE_INTEGER, TYPE_OBJECTIDENTIFIER, TYPE_OCTETSTRING, TYPE_SEQUENCE};
use snmp2::snmp::{MSG_RESPONSE, SNMP_ENDOFMIBVIEW, TYPE_COUNTER64};
use snmp2::{MessageType, Pdu, Version};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use watchpost::wire::oid::{self, Oid};

/// A running agent; it ends with this.
pub(crate) struct Fake {
    pub(crate) address: String,
    _task: JoinSet<()>,
}

impl Fake {
    /// Answers each request with what `answer` makes of it, after a while.
    pub(crate) async fn start(
        late: Duration,
        mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut request = [0; 65_536];
            loop {
                let (length, from) = socket.recv_from(&mut request).await.unwrap();
                let answer = answer(&request[..length]);
                tokio::time::sleep(late).await;
                // The asker may have gone.
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self { address, _task: task }
    }
}

/// A value: its type and its encoding.
pub(super) type Coded = (u8, Vec<u8>);

pub(super) fn integer(n: u8) -> Coded {
    (TYPE_INTEGER, vec![n])
}

pub(super) fn counter(n: u8) -> Coded {
    (TYPE_COUNTER64, vec![n])
}

pub(super) fn string(text: &str) -> Coded {
    (TYPE_OCTETSTRING, text.into())
}

/// The values an honest agent has.
#[derive(Clone, Default)]
pub(super) struct Values(Vec<(Oid, Coded)>);

impl Values {
    pub(super) fn with(mut self, oid: &str, value: Coded) -> Self {
        self.0.push((oid.parse().unwrap(), value));
        self.0.sort_by(|(a, _), (b, _)| oid::compare(a.as_bytes(), b.as_bytes()));
        self
    }

    /// Answers GET and GETBULK, in version 1 GET and GETNEXT.
    pub(super) fn answer(&self, request: &[u8]) -> Vec<u8> {
        let pdu = Pdu::from_bytes(request).unwrap();
        if pdu.version() == Ok(Version::V1) {
            return self.answer_1(request, &pdu);
        }
        let names: Vec<Vec<u8>> =
            pdu.varbinds.clone().map(|(name, _)| name.as_bytes().to_vec()).collect();
        let end = (SNMP_ENDOFMIBVIEW, Vec::new());
        let mut said = Vec::new();
        match pdu.message_type {
            MessageType::GetBulkRequest => {
                let mut at = names;
                for _ in 0..pdu.error_index {
                    for name in &mut at {
                        match self.after(name) {
                            Some((oid, value)) => {
                                *name = oid.as_bytes().to_vec();
                                said.push((name.clone(), value.clone()));
                            }
                            None => said.push((name.clone(), end.clone())),
                        }
                    }
                }
            }
            _ => {
                for name in names {
                    let known = self.0.iter().find(|(known, _)| *known.as_bytes() == *name);
                    said.push((name, known.map_or(end.clone(), |(_, value)| value.clone())));
                }
            }
        }
        respond(request, &said)
    }

    /// Answers as version 1 does: where one value is not there, none (RFC 1157 section 4.1.2).
    fn answer_1(&self, request: &[u8], pdu: &Pdu<'_>) -> Vec<u8> {
        let mut said = Vec::new();
        for (at, (name, _)) in pdu.varbinds.clone().enumerate() {
            let found = match pdu.message_type {
                MessageType::GetNextRequest => self.after(name.as_bytes()),
                _ => self.0.iter().find(|(known, _)| known.as_bytes() == name.as_bytes()),
            };
            let Some((oid, value)) = found else {
                let index = u8::try_from(at + 1).unwrap();
                return respond_with((NO_SUCH_NAME, index), request, &[]);
            };
            said.push((oid.as_bytes().to_vec(), value.clone()));
        }
        respond(request, &said)
    }

    fn after(&self, name: &[u8]) -> Option<&(Oid, Coded)> {
        self.0.iter().find(|(known, _)| oid::compare(known.as_bytes(), name).is_gt())
    }
}

const NO_SUCH_NAME: u8 = 2;

/// How many values an answer to a request would have: for GETBULK, rows times columns.
pub(super) fn values_asked(request: &[u8]) -> usize {
    let pdu = Pdu::from_bytes(request).unwrap();
    let rows = match pdu.message_type {
        MessageType::GetBulkRequest => usize::try_from(pdu.error_index).unwrap(),
        _ => 1,
    };
    rows * pdu.varbinds.clone().count()
}

/// A response to a request, with these values.
pub(super) fn respond(request: &[u8], values: &[(Vec<u8>, Coded)]) -> Vec<u8> {
    respond_with((0, 0), request, values)
}

/// A response to a request that says why there are no values (RFC 3416 section 3).
pub(super) fn refuse(status: u8, request: &[u8]) -> Vec<u8> {
    respond_with((status, 0), request, &[])
}

fn respond_with((status, index): (u8, u8), request: &[u8], values: &[(Vec<u8>, Coded)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (name, (tag, value)) in values {
        let pair = [tlv(TYPE_OBJECTIDENTIFIER, name), tlv(*tag, value)].concat();
        list.extend(tlv(TYPE_SEQUENCE, &pair));
    }
    // By hand: the crate would leave out what it cannot decode itself.
    let pdu = Pdu::from_bytes(request).unwrap();
    let id = tlv(TYPE_INTEGER, &pdu.req_id.to_be_bytes());
    let (status, index) = (tlv(TYPE_INTEGER, &[status]), tlv(TYPE_INTEGER, &[index]));
    let body = [id, status, index, tlv(TYPE_SEQUENCE, &list)].concat();
    let version = u8::from(pdu.version() != Ok(Version::V1));
    let version = tlv(TYPE_INTEGER, &[version]);
    let community = tlv(TYPE_OCTETSTRING, pdu.community);
    tlv(TYPE_SEQUENCE, &[version, community, tlv(MSG_RESPONSE, &body)].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut coded = vec![tag, 0x82, length[0], length[1]];
    coded.extend_from_slice(content);
    coded
}
