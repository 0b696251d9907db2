//! Values over time, drawn with dots into a terminal.
//!
//! A gap in the data is a gap in the line. Colours are only written to a terminal; without them
//! series are told apart by the list below alone.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::chart::{Axis, Chart, Dataset, GraphType};

use super::super::printable;
use super::values::{Series, Values};

/// Where and how it is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The first time, in seconds since the epoch.
    pub(super) from: f64,
    /// The last.
    pub(super) to: f64,
    /// The step; values further apart are not joined.
    pub(super) step: f64,
    /// Columns and lines.
    pub(super) size: (u16, u16),
    /// Whether colours may be written.
    pub(super) colours: bool,
}

/// Series are told apart by these, in turn.
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Red, Color::Blue];

/// Series listed below the chart; more would push it off the screen.
const LISTED_MAX: usize = 10;

/// Series drawn; more is a coloured surface.
const DRAWN_MAX: usize = 50;

/// The smallest chart in which something can be seen.
const LINES_MIN: u16 = 8;

/// The widest and highest that is drawn, whatever the terminal says.
const SIZE_MAX: (u16, u16) = (400, 60);

/// The chart, and below it the series with their last, least and greatest values.
pub(super) fn draw(title: &str, values: &Values, frame: &Frame) -> String {
    let runs: Vec<Vec<Vec<(f64, f64)>>> =
        values.0.iter().take(DRAWN_MAX).map(|series| runs(series, frame)).collect();
    let all = || runs.iter().flatten().flatten().map(|(_, value)| *value);
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return "no data\n".to_owned();
    }
    let unit = Unit::of(&values.0);
    let (bottom, top) = bounds(low, high);
    let datasets = runs.iter().enumerate().flat_map(|(at, runs)| {
        runs.iter().map(move |run| {
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(if run.len() > 1 { GraphType::Line } else { GraphType::Scatter })
                .style(Style::new().fg(COLOURS[at % COLOURS.len()]))
                .data(run)
        })
    });
    let width = frame.size.0.clamp(40, SIZE_MAX.0);
    let listed = values.0.len().min(LISTED_MAX) as u16 + 3;
    let height = frame.size.1.min(SIZE_MAX.1).saturating_sub(listed).max(LINES_MIN);
    let heights = [bottom, bottom + (top - bottom) / 2.0, top].map(|value| unit.show(value));
    let x = Axis::default().bounds([frame.from, frame.to]).labels(times(frame, width));
    let y = Axis::default().bounds([bottom, top]).labels(heights);
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    Chart::new(datasets.collect()).x_axis(x).y_axis(y).render(area, &mut buffer);
    let mut text = format!("{}\n", printable(title));
    push_buffer(&mut text, &buffer, frame.colours);
    push_list(&mut text, values, &runs, unit, frame.colours);
    text
}

/// The values of a series, parted where there is a gap.
fn runs(series: &Series, frame: &Frame) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    for (time, value) in &series.points {
        let value = value.parse::<f64>().ok().filter(|value| value.is_finite());
        let Some(value) = value else { continue };
        let joins = |run: &&mut Vec<(f64, f64)>| {
            run.last().is_some_and(|(last, _)| time - last < frame.step * 1.5)
        };
        match runs.last_mut().filter(joins) {
            Some(run) => run.push((*time, value)),
            None => runs.push(vec![(*time, value)]),
        }
    }
    runs
}

/// From where to where the vertical axis goes: a little beyond the values, but not beyond zero.
fn bounds(low: f64, high: f64) -> (f64, f64) {
    let margin = if high > low { (high - low) * 0.05 } else { (high.abs() * 0.1).max(0.5) };
    let bottom = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
    (bottom, high + margin)
}

/// Labels of the time axis, in the local zone: as many as have room.
fn times(frame: &Frame, width: u16) -> Vec<String> {
    let span = frame.to - frame.from;
    let format = match span {
        span if span > 2.0 * 86_400.0 => "%b %d",
        span if span > 600.0 => "%H:%M",
        _ => "%H:%M:%S",
    };
    let count = (width / 20).clamp(2, 7);
    let label = |at: u16| {
        let seconds = frame.from + span * f64::from(at) / f64::from(count - 1);
        let time = jiff::Timestamp::from_millisecond((seconds * 1e3) as i64).unwrap_or_default();
        time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string()
    };
    (0..count).map(label).collect()
}

/// What numbers are of, by the end of their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Bytes,
    Ratio,
    Celsius,
    None,
}

impl Unit {
    /// Of series of one name; where names differ or are gone, numbers are only numbers.
    fn of(all: &[Series]) -> Self {
        let name = all.first().map_or("", |series| series.label("__name__"));
        if all.iter().any(|series| series.label("__name__") != name) {
            return Self::None;
        }
        match name.rsplit('_').next() {
            Some("seconds") => Self::Seconds,
            Some("bytes") => Self::Bytes,
            Some("ratio") => Self::Ratio,
            Some("celsius") => Self::Celsius,
            _ => Self::None,
        }
    }

    fn show(self, value: f64) -> String {
        let size = value.abs();
        match self {
            Self::Ratio => format!("{} %", short(value * 100.0)),
            Self::Celsius => format!("{} °C", short(value)),
            Self::Seconds if size == 0.0 || size >= 1.0 => format!("{} s", short(value)),
            Self::Seconds if size >= 1e-3 => format!("{} ms", short(value * 1e3)),
            Self::Seconds => format!("{} µs", short(value * 1e6)),
            Self::Bytes => {
                let scale = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
                let unit = scale.into_iter().find(|(bytes, _)| size >= *bytes as f64);
                let (bytes, name) = unit.unwrap_or((1, "B"));
                format!("{} {name}", short(value / bytes as f64))
            }
            Self::None => {
                let scale = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
                let unit = scale.into_iter().find(|(number, _)| size >= *number * 10.0);
                let (number, name) = unit.unwrap_or((1.0, ""));
                format!("{}{name}", short(value / number))
            }
        }
    }
}

/// Three digits or a little more.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 => 2,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{value:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn push_buffer(text: &mut String, buffer: &Buffer, colours: bool) {
    let area = buffer.area;
    for y in 0..area.height {
        let mut line = String::new();
        let mut colour = Color::Reset;
        for x in 0..area.width {
            let cell = &buffer[(x, y)];
            if colours && cell.fg != colour {
                colour = cell.fg;
                line += &escape(colour);
            }
            line += cell.symbol();
        }
        if colour != Color::Reset {
            line += &escape(Color::Reset);
        }
        *text += line.trim_end();
        text.push('\n');
    }
}

fn push_list(
    text: &mut String,
    values: &Values,
    runs: &[Vec<Vec<(f64, f64)>>],
    unit: Unit,
    colours: bool,
) {
    for (at, (series, runs)) in values.0.iter().zip(runs).enumerate().take(LISTED_MAX) {
        let all = || runs.iter().flatten().map(|(_, value)| *value);
        let Some(last) = all().next_back() else { continue };
        let least = all().fold(f64::INFINITY, f64::min);
        let greatest = all().fold(f64::NEG_INFINITY, f64::max);
        let mark = match colours {
            true => format!("{}▬{}", escape(COLOURS[at % COLOURS.len()]), escape(Color::Reset)),
            false => "▬".to_owned(),
        };
        *text += &format!(
            "{mark} {}  last {}, {} to {}\n",
            printable(&series.name()),
            unit.show(last),
            unit.show(least),
            unit.show(greatest)
        );
    }
    let more = values.0.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        *text += &format!("  and {more} more\n");
    }
}

/// The sequence that turns to a colour (ECMA-48, SGR).
fn escape(colour: Color) -> String {
    let code = match colour {
        Color::Red => 31,
        Color::Green => 32,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::Magenta => 35,
        Color::Cyan => 36,
        _ => 39,
    };
    format!("\u{1b}[{code}m")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame =
        Frame { from: 0.0, to: 3_600.0, step: 60.0, size: (80, 20), colours: false };

    fn series(name: &str, target: &str, value: impl Fn(u32) -> Option<f64>) -> Series {
        let point = |n: u32| Some((f64::from(n) * 60.0, value(n)?.to_string()));
        Series {
            labels: vec![("__name__".into(), name.into()), ("target".into(), target.into())],
            points: (0..=60).filter_map(point).collect(),
        }
    }

    #[test]
    fn a_chart_has_a_line_axes_with_units_and_a_list() {
        let rtt = |n: u32| Some(0.010 + f64::from(n) * 0.000_1);
        let values = Values(vec![series("icmp_rtt_seconds", "gw", rtt)]);
        let drawn = draw("icmp_rtt_seconds", &values, &FRAME);
        assert!(drawn.starts_with("icmp_rtt_seconds\n"), "{drawn}");
        assert!(drawn.contains("16.3 ms") && drawn.contains("9.7 ms"), "{drawn}");
        let list = "▬ icmp_rtt_seconds{target=\"gw\"}  last 16 ms, 10 ms to 16 ms\n";
        assert!(drawn.ends_with(list), "{drawn}");
        assert!(!drawn.contains('\u{1b}'), "no colours: {drawn}");
        let is_braille = |c: &char| ('\u{2801}'..='\u{28ff}').contains(c);
        assert!(drawn.chars().filter(is_braille).count() > 50, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        let coloured = draw("x", &values, &Frame { colours: true, ..FRAME });
        assert!(coloured.contains("\u{1b}[36m"));
    }

    #[test]
    fn a_gap_is_a_gap_and_what_is_no_number_is_left_out() {
        let one = series("m", "a", |n| (!(20..30).contains(&n)).then_some(f64::from(n)));
        assert_eq!(runs(&one, &FRAME).iter().map(Vec::len).collect::<Vec<_>>(), [20, 31]);
        let nothing = Values(vec![series("m", "a", |_| Some(f64::NAN))]);
        assert_eq!(draw("m", &nothing, &FRAME), "no data\n");
        let flat = Values(vec![series("m", "a", |_| Some(0.0))]);
        assert!(draw("m", &flat, &FRAME).contains("last 0, 0 to 0"));
    }

    #[test]
    fn numbers_are_shown_with_their_units() {
        for (unit, value, text) in [
            (Unit::Seconds, 0.000_25, "250 µs"),
            (Unit::Seconds, 90.0, "90 s"),
            (Unit::Ratio, 0.125, "12.5 %"),
            (Unit::Bytes, 1_572_864.0, "1.5 MiB"),
            (Unit::Bytes, 512.0, "512 B"),
            (Unit::Celsius, -3.25, "-3.25 °C"),
            (Unit::None, 12_345_678.0, "12.3M"),
            (Unit::None, 1_234.0, "1234"),
            (Unit::None, 0.000_1, "1.0e-4"),
        ] {
            assert_eq!(unit.show(value), text);
        }
        let mixed = [series("a_seconds", "x", |_| None), series("b_bytes", "x", |_| None)];
        assert_eq!(Unit::of(&mixed), Unit::None);
        assert_eq!(Unit::of(&mixed[..1]), Unit::Seconds);
    }

    #[test]
    fn any_terminal_gets_a_chart() {
        let values = Values((0..60).map(|n| series("m", &n.to_string(), |_| Some(1.0))).collect());
        for size in [(0, 0), (1, 1), (40, 10), (500, 500), (u16::MAX, u16::MAX)] {
            let drawn = draw("m", &values, &Frame { size, ..FRAME });
            assert!(drawn.contains("and 50 more"), "{size:?}");
        }
    }
}
