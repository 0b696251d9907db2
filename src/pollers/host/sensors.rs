//! Temperatures, from /sys/class/hwmon and /sys/class/thermal.
//!
//! See Documentation/hwmon/sysfs-interface.rst of Linux. A sensor that is asleep, gone or broken
//! is left out: missing sensors are no failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One sensor's temperature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// `chip/label`, such as `coretemp/Package id 0`; the same on every start.
    pub(super) sensor: String,
    pub(super) celsius: f64,
}

/// What no sensor of a computer measures; drivers report such values for sensors not connected.
const PLAUSIBLE_CELSIUS: std::ops::RangeInclusive<f64> = -100.0..=250.0;

/// Reads all sensors below `class`, normally /sys/class. Blocks for as long as slow buses do.
pub(super) fn read(class: &Path) -> Vec<Reading> {
    let mut chips = BTreeMap::<String, Vec<PathBuf>>::new();
    for folder in folders(&class.join("hwmon"), "hwmon") {
        if let Some(name) = text(&folder.join("name")) {
            chips.entry(name).or_default().push(folder);
        }
    }
    let mut readings = Vec::new();
    for (name, folders) in &chips {
        for folder in folders {
            // Two of a kind, such as NVMe disks, are told apart by the device they belong to.
            let chip = match device(folder).filter(|_| folders.len() > 1) {
                Some(device) => format!("{name}-{device}"),
                None => name.clone(),
            };
            chip_readings(folder, &chip, &mut readings);
        }
    }
    let plain = |name: &str| name.replace(['-', '_'], "");
    let known: Vec<_> = chips.keys().map(|name| plain(name)).collect();
    for folder in folders(&class.join("thermal"), "thermal_zone") {
        let Some(name) = text(&folder.join("type")) else { continue };
        // Most zones are chips as well, and are read above.
        if known.contains(&plain(&name)) {
            continue;
        }
        if let Some(celsius) = celsius(&folder.join("temp")) {
            readings.push(Reading { sensor: name, celsius });
        }
    }
    readings.sort_by(|a, b| a.sensor.cmp(&b.sensor));
    readings.dedup_by(|later, earlier| later.sensor == earlier.sensor);
    readings
}

fn chip_readings(folder: &Path, chip: &str, readings: &mut Vec<Reading>) {
    for file in names(folder) {
        let Some(input) = file.strip_suffix("_input").filter(|i| i.starts_with("temp")) else {
            continue;
        };
        if let Some(celsius) = celsius(&folder.join(&file)) {
            let label = text(&folder.join(format!("{input}_label")));
            let sensor = format!("{chip}/{}", label.as_deref().unwrap_or(input));
            readings.push(Reading { sensor, celsius });
        }
    }
}

/// A file of millidegrees.
fn celsius(path: &Path) -> Option<f64> {
    let millidegrees: i32 = text(path)?.parse().ok()?;
    Some(f64::from(millidegrees) / 1000.0).filter(|celsius| PLAUSIBLE_CELSIUS.contains(celsius))
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The name of the device a chip belongs to, such as `nvme0` or `0000:01:00.0`.
fn device(chip: &Path) -> Option<String> {
    let device = fs::canonicalize(chip.join("device")).ok()?;
    device.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn folders(class: &Path, prefix: &str) -> Vec<PathBuf> {
    let names = names(class).into_iter().filter(|name| name.starts_with(prefix));
    names.map(|name| class.join(name)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn sensors_are_named_by_chip_and_label() {
        let class = class(&[
            ("hwmon/hwmon0/name", "coretemp\n"),
            ("hwmon/hwmon0/temp1_input", "48000\n"),
            ("hwmon/hwmon0/temp1_label", "Package id 0\n"),
            ("hwmon/hwmon0/temp2_input", "47500\n"),
            ("hwmon/hwmon0/temp1_max", "100000\n"),
            ("hwmon/hwmon0/fan1_input", "1200\n"),
            ("hwmon/hwmon1/name", "cpu_thermal\n"),
            ("hwmon/hwmon1/temp1_input", "-273150\n"),
            ("thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("thermal/thermal_zone0/temp", "51000\n"),
            ("thermal/thermal_zone1/type", "gpu-thermal\n"),
            ("thermal/thermal_zone1/temp", "52000\n"),
        ]);
        let sensors: Vec<_> =
            read(class.path()).into_iter().map(|r| (r.sensor, r.celsius)).collect();
        let expected = [
            ("coretemp/Package id 0".to_owned(), 48.0),
            ("coretemp/temp2".to_owned(), 47.5),
            ("gpu-thermal".to_owned(), 52.0),
        ];
        assert_eq!(sensors, expected);
    }

    #[test]
    fn two_chips_of_a_kind_are_told_apart() {
        let class = class(&[
            ("devices/nvme0/x", ""),
            ("devices/nvme1/x", ""),
            ("hwmon/hwmon0/name", "nvme"),
            ("hwmon/hwmon0/temp1_input", "30000"),
            ("hwmon/hwmon1/name", "nvme"),
            ("hwmon/hwmon1/temp1_input", "40000"),
        ]);
        for n in 0..2 {
            let link = class.path().join(format!("hwmon/hwmon{n}/device"));
            let device = class.path().join(format!("devices/nvme{n}"));
            std::os::unix::fs::symlink(device, link).unwrap();
        }
        let sensors: Vec<_> = read(class.path()).into_iter().map(|r| r.sensor).collect();
        assert_eq!(sensors, ["nvme-nvme0/temp1", "nvme-nvme1/temp1"]);
    }

    #[test]
    fn a_host_without_sensors_has_no_readings() {
        assert_eq!(read("/nonexistent".as_ref()), []);
    }
}
