//! Sentences of NMEA 0183: `$GPRMC,123519,A,4807.038,N,…*6A`, as navigation and weather
//! instruments send them, and the places a reading can be in.
//!
//! A sentence whose checksum is wrong is none. Multi-part messages are not put together, and the
//! payload of AIS is left alone.

use super::value::{Value, number};

/// Most characters of a sentence's address; the standard has five, manufacturers a few more.
const ADDRESS_CHARS_MAX: usize = 20;

/// Metres a second in a knot: a nautical mile is 1,852 m.
const KNOT: f64 = 1852.0 / 3600.0;

/// Why a line is no sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NmeaError {
    /// It does not begin with `$` or `!`, or has no address.
    #[error("a sentence begins with $ or ! and its address")]
    Shape,
    /// It does not end with `*` and two hexadecimal digits.
    #[error("the sentence has no checksum")]
    NoChecksum,
    /// The digits are those of another sentence.
    #[error("the checksum is wrong")]
    WrongChecksum,
}

/// A sentence whose checksum is right, or that has none where that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// Who speaks and what of: `GPRMC`, `WIMWV`, `PGRME`.
    pub address: &'a str,
    fields: &'a str,
}

impl<'a> Sentence<'a> {
    /// Reads a line, without its line end; a tag block (`\…\`) before the sentence is passed over.
    ///
    /// # Errors
    /// It is no sentence, or damaged.
    pub fn parse(line: &'a str, needs_checksum: bool) -> Result<Self, NmeaError> {
        let sentence = match line.strip_prefix('\\') {
            Some(block) => block.split_once('\\').ok_or(NmeaError::Shape)?.1,
            None => line,
        };
        let body = sentence.strip_prefix(['$', '!']).ok_or(NmeaError::Shape)?;
        let body = match body.split_once('*') {
            None if needs_checksum => return Err(NmeaError::NoChecksum),
            None => body,
            Some((body, digits)) => {
                let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let sum = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex);
                if sum != Some(checksum(body)) {
                    return Err(NmeaError::WrongChecksum);
                }
                body
            }
        };
        let (address, fields) = body.split_once(',').unwrap_or((body, ""));
        if is_address(address) { Ok(Self { address, fields }) } else { Err(NmeaError::Shape) }
    }

    /// A field, counted from 1 after the address; `None` where it is not there or empty.
    #[must_use]
    pub fn field(&self, at: usize) -> Option<&'a str> {
        let field = self.fields.split(',').nth(at.checked_sub(1)?)?.trim();
        Some(field).filter(|field| !field.is_empty())
    }

    /// Whether it is the one an address of a [`Place`] means.
    fn is(&self, wanted: &str) -> bool {
        let is_standard = self.address.len() == 5 && !self.address.starts_with('P');
        self.address == wanted
            || (is_standard && wanted.len() == 3 && self.address.ends_with(wanted))
    }
}

/// All characters between `$` and `*`, put together by exclusive or.
#[must_use]
pub fn checksum(body: &str) -> u8 {
    body.bytes().fold(0, |sum, byte| sum ^ byte)
}

fn is_address(text: &str) -> bool {
    (3..=ADDRESS_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Where a reading is: `RMC.7` is the seventh field of every talker's RMC and `GPRMC.7` that of
/// GPS only, both as they are sent; `RMC.speed` is one of [`quantities`], in base units; `XDR.OUT`
/// is the transducer named `OUT`.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    address: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Field(usize),
    Quantity(&'static Quantity),
    Transducer(String),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, what) = text
            .split_once('.')
            .filter(|(address, what)| is_address(address) && !what.is_empty())
            .ok_or_else(|| {
                format!(
                    "`{text}` is no place in a sentence, such as RMC.speed, GPRMC.7 or XDR.NAME"
                )
            })?;
        let formatter = &address[if address.len() == 5 { 2 } else { 0 }..];
        let what = if what.bytes().all(|b| b.is_ascii_digit()) {
            let at = what.parse().ok().filter(|at| *at > 0);
            What::Field(at.ok_or_else(|| format!("`{text}`: fields count from 1"))?)
        } else if formatter == "XDR" {
            What::Transducer(what.to_owned())
        } else {
            let of = || QUANTITIES.iter().filter(|quantity| quantity.sentence == formatter);
            What::Quantity(of().find(|quantity| quantity.name == what).ok_or_else(|| {
                let known: Vec<_> = of().map(|quantity| quantity.name).collect();
                match known.is_empty() {
                    true => format!("{address} has no fields with names here; give their numbers"),
                    false => format!("{address} has {}, or fields by number", known.join(", ")),
                }
            })?)
        };
        Ok(Self { address: address.to_owned(), what })
    }
}

impl Place {
    /// What a sentence has there; `None` where it is of another sort, has nothing there, or says
    /// that what is there is not valid. What is there and makes no sense has no number.
    #[must_use]
    pub fn read<'a>(&self, sentence: &Sentence<'a>) -> Option<Value<'a>> {
        if !sentence.is(&self.address) {
            return None;
        }
        match &self.what {
            What::Field(at) => sentence.field(*at).map(Value::Text),
            What::Quantity(quantity) => quantity.read(sentence),
            What::Transducer(name) => transducer(sentence, name),
        }
    }
}

/// The quantity of a sentence, converted to base units: metres, metres a second, degrees (north and
/// east are positive), degrees Celsius, pascals, ratios from 0 to 1.
#[derive(Debug, PartialEq)]
pub struct Quantity {
    /// The last three letters of the address.
    pub sentence: &'static str,
    /// What it is called.
    pub name: &'static str,
    at: usize,
    unit: Unit,
    /// A field, and the letters of which it must be one for the quantity to be there and valid.
    only: &'static [(usize, &'static str)],
}

#[derive(Debug, PartialEq)]
enum Unit {
    /// Times this.
    Times(f64),
    /// A speed, whose unit is in this field.
    SpeedOf(usize),
    /// Degrees and minutes, with the hemisphere in the next field.
    Position,
}

/// The quantities that have names.
#[must_use]
pub fn quantities() -> &'static [Quantity] {
    QUANTITIES
}

const fn quantity(
    sentence: &'static str,
    name: &'static str,
    at: usize,
    unit: Unit,
    only: &'static [(usize, &'static str)],
) -> Quantity {
    Quantity { sentence, name, at, unit, only }
}

const AS_SENT: Unit = Unit::Times(1.0);
const KNOTS: Unit = Unit::Times(KNOT);
const NAUTICAL_MILES: Unit = Unit::Times(1852.0);
const BARS: Unit = Unit::Times(100_000.0);
const PERCENT: Unit = Unit::Times(0.01);

/// GGA says the quality of its fix as a digit, 0 for none.
const FIX: &[(usize, &str)] = &[(6, "123456789")];

/// The field numbers are those of the standard, NMEA 0183 version 4.
static QUANTITIES: &[Quantity] = &[
    quantity("DBT", "depth", 3, AS_SENT, &[]),
    quantity("DPT", "depth", 1, AS_SENT, &[]),
    quantity("GGA", "latitude", 2, Unit::Position, FIX),
    quantity("GGA", "longitude", 4, Unit::Position, FIX),
    quantity("GGA", "altitude", 9, AS_SENT, FIX),
    quantity("GGA", "hdop", 8, AS_SENT, FIX),
    quantity("GGA", "quality", 6, AS_SENT, &[]),
    quantity("GGA", "satellites", 7, AS_SENT, &[]),
    quantity("GLL", "latitude", 1, Unit::Position, &[(6, "A")]),
    quantity("GLL", "longitude", 3, Unit::Position, &[(6, "A")]),
    quantity("HDG", "heading", 1, AS_SENT, &[]),
    quantity("HDM", "heading", 1, AS_SENT, &[]),
    quantity("HDT", "heading", 1, AS_SENT, &[]),
    quantity("MDA", "pressure", 3, BARS, &[]),
    quantity("MDA", "air_temperature", 5, AS_SENT, &[]),
    quantity("MDA", "water_temperature", 7, AS_SENT, &[]),
    quantity("MDA", "humidity", 9, PERCENT, &[]),
    quantity("MDA", "dew_point", 11, AS_SENT, &[]),
    quantity("MDA", "wind_direction", 13, AS_SENT, &[]),
    quantity("MDA", "wind_speed", 19, AS_SENT, &[]),
    quantity("MTA", "temperature", 1, AS_SENT, &[]),
    quantity("MTW", "temperature", 1, AS_SENT, &[]),
    quantity("MWD", "direction", 1, AS_SENT, &[]),
    quantity("MWD", "speed", 7, AS_SENT, &[]),
    quantity("MWV", "relative_angle", 1, AS_SENT, &[(2, "R"), (5, "A")]),
    quantity("MWV", "relative_speed", 3, Unit::SpeedOf(4), &[(2, "R"), (5, "A")]),
    quantity("MWV", "true_angle", 1, AS_SENT, &[(2, "T"), (5, "A")]),
    quantity("MWV", "true_speed", 3, Unit::SpeedOf(4), &[(2, "T"), (5, "A")]),
    quantity("RMC", "latitude", 3, Unit::Position, &[(2, "A")]),
    quantity("RMC", "longitude", 5, Unit::Position, &[(2, "A")]),
    quantity("RMC", "speed", 7, KNOTS, &[(2, "A")]),
    quantity("RMC", "course", 8, AS_SENT, &[(2, "A")]),
    quantity("ROT", "rate", 1, AS_SENT, &[(2, "A")]),
    quantity("RSA", "rudder", 1, AS_SENT, &[(2, "A")]),
    quantity("VHW", "heading", 1, AS_SENT, &[]),
    quantity("VHW", "speed", 5, KNOTS, &[]),
    quantity("VLW", "total_distance", 1, NAUTICAL_MILES, &[]),
    quantity("VLW", "trip_distance", 3, NAUTICAL_MILES, &[]),
    quantity("VTG", "course", 1, AS_SENT, &[]),
    quantity("VTG", "speed", 5, KNOTS, &[]),
];

impl Quantity {
    fn read<'a>(&self, sentence: &Sentence<'a>) -> Option<Value<'a>> {
        for (at, letters) in self.only {
            if !sentence.field(*at).is_some_and(|said| letters.contains(said)) {
                return None;
            }
        }
        let text = sentence.field(self.at)?;
        let scaled = |factor: f64| number(text).map(|number| number * factor);
        let read = match self.unit {
            Unit::Times(factor) => scaled(factor),
            Unit::SpeedOf(unit) => sentence.field(unit).and_then(speed_unit).and_then(scaled),
            Unit::Position => position(text, sentence.field(self.at + 1)),
        };
        Some(Value::Number(read.unwrap_or(f64::NAN)))
    }
}

/// Metres a second in the unit of a speed.
fn speed_unit(letter: &str) -> Option<f64> {
    Some(match letter {
        "M" => 1.0,
        "K" => 1.0 / 3.6,
        "N" => KNOT,
        "S" => 1609.344 / 3600.0,
        _ => return None,
    })
}

/// Degrees out of degrees and minutes: `4807.038` is 48° 7.038′.
fn position(text: &str, hemisphere: Option<&str>) -> Option<f64> {
    let (most, sign) = match hemisphere? {
        "N" => (90.0, 1.0),
        "S" => (90.0, -1.0),
        "E" => (180.0, 1.0),
        "W" => (180.0, -1.0),
        _ => return None,
    };
    let packed = number(text).filter(|number| *number >= 0.0)?;
    let (degrees, minutes) = ((packed / 100.0).trunc(), packed % 100.0);
    let position = degrees + minutes / 60.0;
    (minutes < 60.0 && position <= most).then_some(sign * position)
}

/// The reading of the transducer of a name, out of groups of type, value, unit and name: pressures
/// in pascals, percentages as ratios, all else as it is sent.
fn transducer<'a>(sentence: &Sentence<'a>, name: &str) -> Option<Value<'a>> {
    let fields: Vec<_> = sentence.fields.split(',').map(str::trim).collect();
    let (groups, _) = fields.as_chunks::<4>();
    let [kind, value, unit, _] = groups.iter().find(|[.., of]| *of == name)?;
    if value.is_empty() {
        return None;
    }
    let factor = match (*kind, *unit) {
        ("P", "B") => 100_000.0,
        // `P` is pascal with pressures, and percent with all else.
        ("P", _) => 1.0,
        (_, "P") => 0.01,
        _ => 1.0,
    };
    Some(number(value).map_or(Value::Text(value), |number| Value::Number(number * factor)))
}

#[cfg(test)]
mod tests;
