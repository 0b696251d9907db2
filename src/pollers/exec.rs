//! Programs that know how to look: monitoring plugins, and anything that prints readings.
//!
//! A program that ran and judged is a successful poll, whatever it judged: CRITICAL is a reading
//! of the service, `exec_status 2`. A poll has failed where the program could not be run, did not
//! end in time, was killed, or says itself that it does not know (3, UNKNOWN). There is no shell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::config::read::{FromTable, Key, Table};
use crate::config::{Secret, Target};
use crate::pollers::format::{Payload, Plan};
use crate::pollers::{Kind, PollError, Poller, Reason, Shared};
use crate::process::{CommandLine, Finished, Process, ProcessError};
use crate::sample::Readings;
use crate::wire::nagios::{self, Unit};

crate::config! {
    /// A program to run.
    pub struct Program {
        /// The program and its arguments. There is no shell. A path is relative to this file; a
        /// bare name is looked for in the usual folders.
        pub command: CommandLine,
        /// Variables of its environment, which is otherwise empty but for PATH, LC_ALL=C, HOME,
        /// TMPDIR and TZ. Values may be secrets.
        pub env: BTreeMap<String, Secret>,
    }
    check(program, table) {
        if program.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
            table.error("env", "a variable's name is not empty and contains no `=`");
        }
        if program.env.values().any(|value| value.reveal().contains('\0')) {
            table.error("env", "a variable's value cannot contain a NUL");
        }
    }
}

/// `[exec.NAME]`: the program, and what its output means.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The program.
    pub program: Program,
    /// What its whole output is; `None` for a monitoring plugin's.
    pub payload: Option<Payload>,
}

/// The format that is exec's own.
const NAGIOS: &str = "nagios";

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let program = Program::from_table(table);
        let format = table.node("format").map(|node| node.get_ref().as_str());
        let payload = match format {
            None | Some(Some(NAGIOS)) => Some(None),
            Some(_) => Payload::from_table(table).map(Some),
        };
        Some(Self { program: program?, payload: payload? })
    }

    fn keys() -> Vec<Key> {
        let mut keys = Program::keys();
        keys.extend(Payload::keys().into_iter().map(|key| match key.name {
            "format" => Key {
                description: "What it prints: `nagios`, text and performance data of the monitoring \
                              plugins (the default), or as a whole one of the formats of lines."
                    .into(),
                required: false,
                schema: json!({ "anyOf": [{ "const": NAGIOS }, key.schema] }),
                ..key
            },
            _ => key,
        }));
        keys
    }
}

impl Kind for Config {
    type Poller = Exec;

    /// Programs take their time: an interpreter starts, a query runs.
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn poller(&self, _: &Target, _: &Arc<Shared>) -> Exec {
        let Program { command, env } = &self.program;
        let env = env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        let plan = self.payload.as_ref().map(|payload| Plan::new(payload, "exec", []));
        Exec { command: command.clone(), env: env.collect(), plan }
    }
}

/// Runs a program.
pub struct Exec {
    command: CommandLine,
    env: Vec<(String, String)>,
    /// How to read its output; `None` for a monitoring plugin's.
    plan: Option<Plan>,
}

impl Poller for Exec {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let process = Process { command: &self.command.0, env: &self.env, stdin: b"" };
        let program = &self.command.0[0];
        let finished = process
            .run()
            .await
            .map_err(|error| match error {
                ProcessError::System(error) => {
                    PollError::io(format_args!("run {program}"), &error)
                }
                error @ ProcessError::TooMuchOutput => {
                    PollError::new(Reason::Malformed, format!("{program}: {error}"))
                }
            })?;
        match &mut self.plan {
            None => read_plugin(program, &finished, out),
            Some(plan) => read_payload(program, &finished, plan, out),
        }
    }
}

/// Reads an output that is one payload. A program that says it failed is not believed otherwise.
fn read_payload(
    program: &str,
    finished: &Finished,
    plan: &mut Plan,
    out: &mut Readings,
) -> Result<(), PollError> {
    if let Some(code) = finished.code {
        out.push("exec", "status", code.into());
    }
    if finished.code != Some(0) {
        return Err(failed(program, finished, Reason::Refused, "not 0"));
    }
    if finished.is_held {
        let why = "with its output still held by somebody it left behind";
        return Err(failed(program, finished, Reason::Malformed, why));
    }
    let row = out.row(&plan.measurement, &[]);
    plan.write(&finished.stdout, row, &[], out).map(drop).map_err(|reject| {
        let why = format!("with output that was rejected for its {}", reject.as_str());
        failed(program, finished, Reason::Malformed, &why)
    })
}

/// Reads a monitoring plugin's output. The performance data is `exec_seconds{label="rta"}`: a label
/// is any text, and so cannot be part of a series' name.
fn read_plugin(program: &str, finished: &Finished, out: &mut Readings) -> Result<(), PollError> {
    let stdout = String::from_utf8_lossy(&finished.stdout);
    let output = nagios::parse(&stdout);
    let Some(status @ 0..=3) = finished.code else {
        return Err(failed(program, finished, Reason::Malformed, "not a plugin's 0 to 3"));
    };
    out.push("exec", "status", status.into());
    if status == 3 {
        return Err(failed(program, finished, Reason::Refused, "the plugin does not know"));
    }
    for value in &output.performance {
        let mut tags = vec![("label", &*value.label)];
        if let Unit::Other(unit) = value.unit {
            tags.push(("unit", unit));
        }
        let row = out.row("exec", &tags);
        let unit = value.unit.suffix();
        out.set(row, unit, value.value);
        for (name, bound) in [
            ("warning", value.warning),
            ("critical", value.critical),
            ("min", value.min),
            ("max", value.max),
        ] {
            if let Some(bound) = bound {
                out.set(row, &format!("{name}_{unit}"), bound);
            }
        }
    }
    if output.rejected > 0 {
        out.push("exec", "malformed_values", output.rejected as f64);
    }
    Ok(())
}

/// A failure, with the first thing the program said.
fn failed(program: &str, finished: &Finished, reason: Reason, why: &str) -> PollError {
    let said = [&finished.stdout, &finished.stderr]
        .into_iter()
        .find_map(|bytes| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SAID_BYTES_MAX)]);
            let line = text.lines().find(|line| !line.trim().is_empty())?;
            // Control characters could redraw the terminal of whoever reads the log.
            Some(line.chars().filter(|c| !c.is_control()).collect::<String>())
        })
        .map_or_else(String::new, |line| format!(": {}", line.trim()));
    PollError::new(reason, format!("run {program}: {}, {why}{said}", finished.ending()))
}

/// Bytes of what a program said that are told on; it is one line for a log.
const SAID_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;
    use crate::pollers::KindConfig;
    use crate::sample::{Catalogue, Clock, TargetTags, Written};

    async fn poll(keys: &str) -> (Result<(), PollError>, Vec<String>) {
        let loader = Loader { env: &|_| None };
        let config = loader.load_text("t.toml".as_ref(), &format!("[exec.e]\n{keys}")).unwrap();
        let KindConfig::Exec(kind) = &config.targets[0].kind else { panic!("not exec") };
        let clock = Arc::new(Clock::system());
        let mut exec = kind.poller(&config.targets[0], &Arc::new(Shared::new(clock.clone())));
        let tags = TargetTags { target: "e".into(), tags: Arc::default() };
        let catalogue = Arc::new(Catalogue::default());
        let mut out = Readings::new(catalogue.clone(), clock, tags);
        let result = exec.poll(&mut out).await;
        let samples = out.finish(Written::Everything).into_iter().flat_map(|batch| batch.samples);
        let shown = samples.map(|s| format!("{} {}", catalogue.series(s.series), s.value));
        (result, shown.collect())
    }

    fn plugin(script: &str) -> String {
        format!("command = ['/bin/sh', '-c', {script:?}]\nenv = {{ WHO = 'disk' }}")
    }

    #[tokio::test]
    async fn a_critical_plugin_is_a_reading_and_no_failure() {
        let script = r#"echo "$WHO CRITICAL|rta=5ms;1;3 '/'=50%;;;0;100 w=3W"; exit 2"#;
        let (result, readings) = poll(&plugin(script)).await;
        assert_eq!(result, Ok(()));
        let expected = [
            "exec_status{} 2",
            r#"exec_seconds{label="rta"} 0.005"#,
            r#"exec_warning_seconds{label="rta"} 0.001"#,
            r#"exec_critical_seconds{label="rta"} 0.003"#,
            r#"exec_ratio{label="/"} 0.5"#,
            r#"exec_min_ratio{label="/"} 0"#,
            r#"exec_max_ratio{label="/"} 1"#,
            r#"exec_value{label="w",unit="W"} 3"#,
        ];
        assert_eq!(readings, expected);
    }

    #[tokio::test]
    async fn a_plugin_that_does_not_know_has_failed_and_says_why() {
        let (result, readings) = poll(&plugin(r"printf 'UNKNOWN - no \033[31msuch host'; exit 3")).await;
        let error = result.unwrap_err();
        assert_eq!(error.reason, Reason::Refused);
        assert!(error.context.contains("exit status 3"), "{error}");
        assert!(error.context.ends_with(": UNKNOWN - no [31msuch host"), "{error:?}");
        assert_eq!(readings, ["exec_status{} 3"]);
    }

    #[tokio::test]
    async fn a_program_that_is_no_plugin_or_is_killed_has_failed() {
        for (script, ending) in [("exit 127", "exit status 127"), ("kill -9 $$", "signal")] {
            let (result, readings) = poll(&plugin(script)).await;
            let error = result.unwrap_err();
            assert_eq!(error.reason, Reason::Malformed, "{error}");
            assert!(error.context.contains(ending), "{error}");
            assert!(readings.is_empty());
        }
    }

    #[tokio::test]
    async fn output_may_be_json_or_line_protocol_with_times_of_its_own() {
        let json = r#"echo '{"t": 21.5, "h": 40}'"#;
        let keys = "format = 'json'\nfields = { temperature_celsius = '/t', humidity_ratio = { at = '/h', scale = 0.01 } }";
        let (result, readings) = poll(&format!("{}\n{keys}", plugin(json))).await;
        assert_eq!(result, Ok(()));
        let expected =
            ["exec_status{} 0", "exec_humidity_ratio{} 0.4", "exec_temperature_celsius{} 21.5"];
        assert_eq!(readings, expected);
        let influx = "echo 'climate,room=attic t=20.5,h=3i 1700000000000000000'; echo 'climate,room=hall t=19'";
        let (result, readings) = poll(&format!("{}\nformat = 'influx'", plugin(influx))).await;
        assert_eq!(result, Ok(()));
        assert!(readings.contains(&r#"climate_t{room="attic"} 20.5"#.to_owned()), "{readings:?}");
        assert!(readings.contains(&r#"climate_t{room="hall"} 19"#.to_owned()), "{readings:?}");
        let (result, _) = poll(&format!("{}\nformat = 'influx'", plugin("echo t=1; exit 1"))).await;
        assert_eq!(result.unwrap_err().reason, Reason::Refused);
        let (result, _) = poll(&format!("{}\n{keys}", plugin("echo nonsense"))).await;
        assert_eq!(result.unwrap_err().reason, Reason::Malformed);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_not_allowed_has_failed() {
        let (result, _) = poll("command = ['/nonexistent']").await;
        assert_eq!(result.unwrap_err().reason, Reason::Unreachable);
        let (result, _) = poll("command = ['/etc/passwd']").await;
        assert_eq!(result.unwrap_err().reason, Reason::Auth);
    }
}
