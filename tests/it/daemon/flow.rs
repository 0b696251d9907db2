//! From TOML to alert and action, end to end.

use std::io::Write;

use serde_json::json;
use tokio::task::JoinSet;

use super::{Daemon, stdout};
use crate::actions::Receiver;
use crate::mqtt::Broker;
use crate::serial::Wire;
use crate::snmp::Snmpd;
use crate::support::{text, until};

#[tokio::test]
async fn a_message_over_the_threshold_is_told_by_webhook_api_stream_and_command_and_so_is_its_end()
{
    let Some(broker) = Broker::start().await else { return };
    let mut tasks = JoinSet::new();
    let (receiver, url) = Receiver::start(&mut tasks, |_| Some(204)).await;
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'sensors/+/climate'\nformat = 'json'\n\
         measurement = 'climate'\nfields = {{ temperature_celsius = '/temp' }}\n\
         tags = {{ room = '{{1}}' }}\n\
         [rule.hot]\nmetric = 'climate_temperature_celsius'\nabove = 30\nclear_below = 28\n\
         severity = 'critical'\nsummary = '{{{{ labels.room }}}} is at {{{{ value }}}}'\n\
         actions = ['ops']\n\
         [action.ops]\nwebhook = {{ url = '{url}' }}\n",
        broker.port
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    assert!(daemon.get("/readyz").await.contains("\"ready\":true"));
    let mut events = daemon.events().await;

    broker.publish("sensors/hall/climate", "{\"temp\": 35}", &["-q", "1"]);
    until("the webhook is called", || receiver.got.lock().unwrap().len() == 1).await;
    let told = receiver.got.lock().unwrap()[0].clone();
    assert_eq!((&told["rule"], &told["state"]), (&json!("hot"), &json!("firing")), "{told}");
    assert_eq!((&told["value"], &told["severity"]), (&json!(35.0), &json!("critical")), "{told}");
    assert_eq!(told["summary"], "hall is at 35", "{told}");
    assert_eq!(told["labels"]["room"], "hall", "{told}");
    assert_eq!(told["labels"]["target"], "home", "{told}");
    events.until_heard("hall is at 35").await;
    let alerts = daemon.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["state"], &alerts[0]["value"]), (&json!("firing"), &json!("3.5e+01")));
    let url = format!("http://{}", daemon.address);
    let printed = daemon.command(&["alerts", "--url", &url]);
    assert!(printed.status.success());
    assert!(stdout(&printed).contains("hall is at 35"), "{}", stdout(&printed));

    // Between the two thresholds nothing happens; below both it is over.
    broker.publish("sensors/hall/climate", "{\"temp\": 29}", &["-q", "1"]);
    broker.publish("sensors/hall/climate", "{\"temp\": 20}", &["-q", "1"]);
    until("the webhook is called again", || receiver.got.lock().unwrap().len() == 2).await;
    let told = receiver.got.lock().unwrap()[1].clone();
    assert_eq!((&told["state"], &told["value"]), (&json!("inactive"), &json!(20.0)), "{told}");
    events.until_heard("\"inactive\"").await;
    let printed = daemon.command(&["alerts", "--url", &url]);
    assert_eq!(stdout(&printed), "no alerts\n");
    daemon
        .until("both are counted as delivered", async || {
            let told = daemon.get("/api/watchpost/actions").await;
            let actions: serde_json::Value = serde_json::from_str(&told).unwrap();
            let ops = &actions[0];
            (&ops["name"], &ops["kind"]) == (&json!("ops"), &json!("webhook"))
                && (&ops["delivered"], &ops["waiting"]) == (&json!(2), &json!(0))
                && (&ops["last"]["ok"], &ops["last_error"]) == (&json!(true), &json!(null))
        })
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn devices_on_one_topic_are_judged_each_on_its_own() {
    let Some(broker) = Broker::start().await else { return };
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.home.topic]]\nfilter = 'probes'\nformat = 'json'\nqos = 1\n\
         fields = {{ t = '/temp' }}\ntags = {{ probe = '{{/id}}' }}\n\
         [rule.hot]\nmetric = 'mqtt_t'\nabove = 30\n\
         summary = '{{{{ labels.probe }}}} is at {{{{ value }}}}'\n\
         [rule.cold]\nmetric = 'mqtt_t'\nbelow = 5\n\
         summary = '{{{{ labels.probe }}}} is at {{{{ value }}}}'\n",
        broker.port
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    let mut events = daemon.events().await;
    broker.publish("probes", "{\"temp\":35,\"id\":\"ev1x\"}", &["-q", "1"]);
    broker.publish("probes", "{\"temp\":2,\"id\":17}", &["-q", "1"]);
    events.until_heard("ev1x is at 35").await;
    events.until_heard("17 is at 2").await;
    let alerts = daemon.alerts().await;
    let mut firing: Vec<_> = alerts
        .iter()
        .map(|alert| (&alert["labels"]["alertname"], &alert["labels"]["probe"]))
        .collect();
    firing.sort_by_key(|(rule, _)| rule.to_string());
    assert_eq!(firing, [(&json!("cold"), &json!("17")), (&json!("hot"), &json!("ev1x"))]);
    // That one of them cools down says nothing of the other.
    broker.publish("probes", "{\"temp\":20,\"id\":\"ev1x\"}", &["-q", "1"]);
    events.until_heard("\"inactive\"").await;
    let alerts = daemon.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["labels"]["probe"], "17");
    daemon.stop().await;
}

#[tokio::test]
async fn a_serial_line_over_the_threshold_is_answered_by_mqtt() {
    let (Some(broker), Some(wire)) = (Broker::start().await, Wire::lay().await) else { return };
    let daemon = Daemon::start(&format!(
        "[mqtt.home]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [serial.greenhouse]\ndevice = '{}'\nformat = 'key_value'\n\
         fields = {{ temperature_celsius = 't' }}\n\
         [rule.hot]\nmetric = 'serial_temperature_celsius'\nabove = 35\nclear_below = 32\n\
         actions = ['fan-on']\non_clear = ['fan-off']\n\
         [action.fan-on]\n\
         mqtt = {{ broker = 'home', topic = 'fan/set', payload = 'ON', qos = 1, retain = true }}\n\
         [action.fan-off]\n\
         mqtt = {{ broker = 'home', topic = 'fan/set', payload = 'OFF', qos = 1, retain = true }}\n",
        broker.port,
        text(&wire.port())
    ))
    .await;
    daemon.until_target("mqtt.home", "up").await;
    daemon.until_target("serial.greenhouse", "up").await;
    let mut far = wire.far();
    // What came before the first line end may be half a line, and is not taken.
    far.write_all(b"alf a line\n").unwrap();
    for (line, payload) in [("t=36.5\n", "ON"), ("t=31\n", "OFF")] {
        far.write_all(line.as_bytes()).unwrap();
        daemon
            .until(&format!("{payload} is published"), async || {
                broker.retained("fan/set").await.ends_with(payload)
            })
            .await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_serial_line_over_the_threshold_sets_a_value_of_an_agent() {
    let conf = "rwcommunity public\n";
    let (Some(agent), Some(wire)) = (Snmpd::start(conf).await, Wire::lay().await) else { return };
    let daemon = Daemon::start(&format!(
        "[snmp.switch]\nhost = '{}'\ncommunity = 'public'\nprofiles = ['system']\n\
         [serial.greenhouse]\ndevice = '{}'\nformat = 'number'\nfield = 't'\n\
         [rule.hot]\nmetric = 'serial_t'\nabove = 35\nactions = ['contact', 'denied']\n\
         [action.contact]\nsnmp = {{ target = 'switch', oid = '1.3.6.1.2.1.1.4.0', \
         type = 'string', value = 'hot: {{{{ value }}}}' }}\n\
         [action.denied]\nsnmp = {{ target = 'switch', oid = '1.3.6.1.2.1.1.3.0', \
         type = 'timeticks', value = '1' }}\n",
        agent.address(),
        text(&wire.port())
    ))
    .await;
    daemon.until_target("snmp.switch", "up").await;
    daemon.until_target("serial.greenhouse", "up").await;
    wire.far().write_all(b"\n36.5\n").unwrap();
    let contact = "1.3.6.1.2.1.1.4.0".parse::<watchpost::wire::oid::Oid>().unwrap();
    daemon
        .until("the agent has the value", async || {
            let mut asking =
                snmp2::AsyncSession::new_v2c(agent.address(), b"public", 1).await.unwrap();
            let oid = snmp2::Oid::new(contact.as_bytes().into());
            let answer = asking.get(&oid).await.unwrap();
            let mut values = answer.varbinds;
            matches!(values.next(), Some((_, snmp2::Value::OctetString(b"hot: 36.5"))))
        })
        .await;
    // What may not be written is tried once only.
    let failed = "watchpost_action_results_total{action=\"denied\",result=\"gave_up\"}";
    daemon.until("the other is given up", async || daemon.metric(failed).await == 1.0).await;
    daemon.stop().await;
}
