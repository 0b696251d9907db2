//! What pushes become, before the pipeline; the whole way is tested with real clients elsewhere.

use std::path::Path;

use prost::Message;

use super::*;
use crate::config::Loader;
use crate::sample::{STALE, Sample, Timestamp, is_stale};
use crate::wire::remote_write::{Label, Sample as RemoteSample, TimeSeries, WriteRequest};

const NOW: Timestamp = Timestamp::from_secs(100_000);
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

fn ingest() -> Ingest {
    let text = "site = 'hq'\n[tcp.gw]\naddress = '127.0.0.1:1'\n";
    let config = Loader { env: &|_| None }.load_text(Path::new("/etc/x.toml"), text).unwrap();
    let (handle, _) = crate::pipeline::handle();
    let clock = Arc::new(Clock::starting_at(NOW));
    Ingest::new(&config, Arc::default(), clock, handle, &Metrics::default())
}

impl Ingest {
    async fn gathered(
        &self,
        client: IpAddr,
        format: Format,
        body: &[u8],
    ) -> Result<Gathered, PushError> {
        let clients = self.clients.clone().lock_owned().await;
        self.read(client, clients, format, Bytes::copy_from_slice(body)).await
    }

    async fn lines(&self, text: &str) -> (Vec<String>, Outcome) {
        let format =
            Format::Lines { precision: Precision::parse("s").unwrap(), bucket: "home".into() };
        let (batches, outcome, _) = self.gathered(CLIENT, format, text.as_bytes()).await.unwrap();
        (self.words(&batches), outcome)
    }

    /// Each sample as `target@seconds series value`.
    fn words(&self, batches: &[Batch]) -> Vec<String> {
        let word = |batch: &Batch, sample: &Sample| {
            let series = self.catalogue.series(sample.series);
            let value =
                if is_stale(sample.value) { "stale".into() } else { sample.value.to_string() };
            format!("{}@{} {series} {value}", batch.target, batch.time.as_nanos() / 1_000_000_000)
        };
        batches.iter().flat_map(|b| b.samples.iter().map(move |s| word(b, s))).collect()
    }
}

/// The labels of a series, and its values with their times in seconds.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(f64, i64)]);

fn remote(series: &[Series<'_>]) -> Vec<u8> {
    let one = |(labels, samples): &Series<'_>| TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| Label { name: (*name).into(), value: (*value).into() })
            .collect(),
        samples: samples
            .iter()
            .map(|(value, seconds)| RemoteSample { value: *value, timestamp: seconds * 1_000 })
            .collect(),
    };
    WriteRequest { timeseries: series.iter().map(one).collect() }.encode_to_vec()
}

#[tokio::test(start_paused = true)]
async fn lines_get_the_tags_they_lack() {
    let (words, outcome) = ingest()
        .lines(
            "climate,room=hall t=21.5,n=2i,on=T,note=\"x\" 99999\n\
             cpu,host=web,site=dc idle=3u\n\
             m,target=pump,kind=modbus v=1 99998\n\
             m only=\"text\" 99998\n",
        )
        .await;
    assert_eq!(
        words,
        [
            r#"pump@99998 m_v{kind="modbus",site="hq",target="pump"} 1"#,
            r#"home@99999 climate_t{kind="push",room="hall",site="hq",target="home"} 21.5"#,
            r#"home@99999 climate_n{kind="push",room="hall",site="hq",target="home"} 2"#,
            r#"home@99999 climate_on{kind="push",room="hall",site="hq",target="home"} 1"#,
            r#"web@100000 cpu_idle{host="web",kind="push",site="dc",target="web"} 3"#,
        ]
    );
    assert_eq!(outcome, Outcome { samples: 5, texts: 2, dropped: 0, refusal: None });
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_costs_only_its_line() {
    let ingest = ingest();
    let long = "x".repeat(2_000);
    let (words, outcome) = ingest
        .lines(&format!(
            "m v=1 100600\nm v= 1\nm v=2 100601\nm v=3 96399\nm v=4 9223372036854775807\n\
             tcp,target=gw,kind=tcp connect_seconds=0\nm,a={long} v=1\nm {long}=1\n\
             m,__name__=x v=1\nm v=5 96400\n"
        ))
        .await;
    let labels = r#"{kind="push",site="hq",target="home"}"#;
    assert_eq!(words, [format!("home@96400 m_v{labels} 5"), format!("home@100600 m_v{labels} 1")]);
    assert_eq!(outcome.dropped, 8);
    let refusal = outcome.refusal.unwrap().to_string();
    assert_eq!(refusal, "unable to parse line 2: a field lacks its value");
    for (line, said) in [
        ("m v=2 100601", "more than 10m ahead"),
        ("m v=3 96399", "more than 1h old"),
        ("tcp,target=gw,kind=tcp v=0", "tcp.gw is polled here"),
        ("m v=4 9223372036854775807", "unable to parse the timestamp"),
        ("m,__name__=x v=1", "__name__"),
    ] {
        let refusal = ingest.lines(line).await.1.refusal.unwrap().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
    // Another site may have a target of that name.
    assert_eq!(ingest.lines("tcp,target=gw,kind=tcp,site=dc v=0").await.1.dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_values_at_one_time_the_last_counts_and_times_are_in_order() {
    let (words, _) =
        ingest().lines("m v=2 99999\nm v=1 99998\nm v=3 99999\nm,host=b v=9 99999\n").await;
    let values: Vec<_> = words.iter().map(|word| word.rsplit(' ').next().unwrap()).collect();
    assert_eq!(values, ["1", "3", "9"]);
}

#[tokio::test(start_paused = true)]
async fn remote_series_stay_what_they_are_and_stale_marks_with_them() {
    let ingest = ingest();
    let message = remote(&[
        (
            &[("__name__", "http_requests_total"), ("instance", "a:1"), ("job", "web")],
            &[(1.0, 99_990), (STALE, 99_991), (f64::INFINITY, 99_992)],
        ),
        (&[("__name__", "up"), ("job", "web")], &[(1.0, 99_990), (1.0, 1)]),
        (&[("job", "nameless")], &[(1.0, 99_990)]),
    ]);
    let (batches, outcome, refused) =
        ingest.gathered(CLIENT, Format::RemoteWrite, &message).await.unwrap();
    let requests = r#"http_requests_total{instance="a:1",job="web",site="hq"}"#;
    assert_eq!(
        ingest.words(&batches),
        [
            format!("a:1@99990 {requests} 1"),
            r#"web@99990 up{job="web",site="hq"} 1"#.to_owned(),
            format!("a:1@99991 {requests} stale"),
            format!("a:1@99992 {requests} inf"),
        ]
    );
    assert_eq!((outcome.samples, outcome.dropped), (4, 2));
    assert_eq!(refused, [0, 1, 0, 1, 0]);
    let cut = &message[..message.len() - 1];
    let cut = ingest.gathered(CLIENT, Format::RemoteWrite, cut).await;
    assert!(matches!(cut, Err(PushError::Malformed(_))));
}

#[tokio::test(start_paused = true)]
async fn series_of_a_client_are_bounded_and_known_ones_go_on() {
    let ingest = ingest();
    *ingest.clients.lock().await.made(CLIENT) = CLIENT_SERIES_MAX - 2;
    let (words, outcome) = ingest.lines("m a=1\nm b=1\nm c=1\nn a=1\nm a=2,b=2\n").await;
    assert_eq!((words.len(), outcome.dropped), (2, 2), "{words:?}");
    let refusal = outcome.refusal.unwrap().to_string();
    assert_eq!(refusal, r#"the field "c" would be one series too many"#);
    let format = Format::Lines { precision: Precision::NANOSECONDS, bucket: "home".into() };
    let (_, outcome, _) = ingest.gathered(OTHER, format, b"m c=1").await.unwrap();
    assert_eq!(outcome.dropped, 0, "another client has room of its own");
}

#[tokio::test(start_paused = true)]
async fn a_push_too_large_is_refused_whole() {
    let ingest = ingest();
    let format = || Format::Lines { precision: Precision::NANOSECONDS, bucket: "b".into() };
    let many = "m v=1\n".repeat(LINES_MAX + 1);
    let refused = ingest.gathered(CLIENT, format(), many.as_bytes()).await;
    assert_eq!(refused.err(), Some(PushError::TooMuch));
    let many = format!("m {}v=1", "v=1,".repeat(SAMPLES_MAX));
    let refused = ingest.gathered(CLIENT, format(), many.as_bytes()).await;
    assert_eq!(refused.err(), Some(PushError::TooMuch));
}

#[test]
fn portions_are_bounded_and_lose_nothing() {
    let catalogue = Catalogue::default();
    let series = catalogue.intern("m", "f", &[]);
    let batch = |n: usize| Batch {
        target: "t".into(),
        time: NOW,
        samples: vec![Sample { series, value: 1.0 }; n],
    };
    let portions = portions(vec![batch(3), batch(25_000), batch(9_000), batch(0)]);
    let sizes: Vec<Vec<usize>> =
        portions.iter().map(|p| p.iter().map(|b| b.samples.len()).collect()).collect();
    assert_eq!(sizes, [vec![3], vec![10_000], vec![10_000], vec![5_000], vec![9_000]]);
}
