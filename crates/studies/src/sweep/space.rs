//! Search spaces: the varied keys of a config, their values, and the selection of trials.

use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// Varied keys and their values in a trial, in alphabetical order of keys.
pub type Settings = Vec<(String, Value)>;

/// Syntax of values, for messages.
const RANGES: &str = "a list of values, { uniform = [low, high] }, { log-uniform = [low, high] } or \
                      { integer = [low, high] }";

/// Maximum number of trials of a sweep; more are probably a typing error.
pub const MAX_TRIALS: usize = 10_000;

/// Maximum number of consecutive duplicate draws; after that many, no new trial is expected.
///
/// Draws are rounded to four significant digits, so a narrow range has few distinct values.
const MAX_DUPLICATES: u32 = 100_000;

/// Values that a key may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// One of these.
    List(Vec<Value>),
    /// Any number between the bounds.
    Uniform(f64, f64),
    /// Any number between the bounds, uniform in its logarithm.
    LogUniform(f64, f64),
    /// Any whole number within the bounds, inclusive.
    Integer(i64, i64),
}

/// A varied key.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Dotted key.
    pub key: String,
    /// Values of the key.
    pub domain: Domain,
}

/// All varied keys, in alphabetical order.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Varied keys, at least one.
    pub axes: Vec<Axis>,
}

impl Space {
    /// Parses a `[space]` table.
    ///
    /// # Errors
    /// Fails if a value is no list or range; names the key and the syntax.
    pub fn parse(table: &Table) -> Result<Self, String> {
        let mut axes = Vec::new();
        collect(table, "", &mut axes)?;
        axes.sort_by(|a: &Axis, b: &Axis| a.key.cmp(&b.key));
        if axes.is_empty() {
            return Err(format!("no key is varied; give each key {RANGES}"));
        }
        Ok(Self { axes })
    }

    /// Returns the number of distinct trials; `None` with a continuous range.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.axes.iter().try_fold(1_u64, |size, axis| {
            let values = match &axis.domain {
                Domain::List(values) => values.len() as u64,
                Domain::Integer(low, high) => high.abs_diff(*low).saturating_add(1),
                Domain::Uniform(..) | Domain::LogUniform(..) => return None,
            };
            Some(size.saturating_mul(values))
        })
    }

    /// Returns every combination of values; the last key changes fastest.
    ///
    /// # Errors
    /// Fails if a key has a range, or there are too many trials.
    pub fn grid(&self) -> Result<Vec<Settings>, String> {
        let mut trials: Vec<Settings> = vec![Vec::new()];
        for axis in &self.axes {
            let Domain::List(values) = &axis.domain else {
                return Err(format!(
                    "`{}` has a range, but a grid needs lists of values",
                    axis.key
                ));
            };
            if trials.len() * values.len() > MAX_TRIALS {
                return Err(format!("the grid has more than {MAX_TRIALS} trials"));
            }
            let with = |trial: &Settings, value: &Value| {
                let mut trial = trial.clone();
                trial.push((axis.key.clone(), value.clone()));
                trial
            };
            let all = trials.iter().flat_map(|trial| values.iter().map(|value| with(trial, value)));
            trials = all.collect();
        }
        Ok(trials)
    }

    /// Draws distinct trials at random.
    ///
    /// A trial depends only on the seed, its number and the trials before it: a larger number of
    /// trials begins with the same ones.
    ///
    /// # Errors
    /// Fails if there are fewer distinct trials.
    pub fn draw(&self, seed: u64, trials: usize) -> Result<Vec<Settings>, String> {
        if let Some(size) = self.size()
            && (trials as u64) > size
        {
            return Err(format!("{trials} trials are requested, but there are only {size}"));
        }
        let mut all: Vec<Settings> = Vec::with_capacity(trials);
        let (mut attempt, mut duplicates) = (0, 0);
        while all.len() < trials {
            let trial: Settings = self.axes.iter().map(|axis| axis.drawn(seed, attempt)).collect();
            attempt += 1;
            if !all.contains(&trial) {
                all.push(trial);
                duplicates = 0;
                continue;
            }
            duplicates += 1;
            if duplicates == MAX_DUPLICATES {
                return Err(format!(
                    "{trials} trials are requested, but only {} distinct ones were found; widen the ranges, whose values have four significant digits",
                    all.len()
                ));
            }
        }
        Ok(all)
    }
}

impl Axis {
    fn drawn(&self, seed: u64, attempt: u64) -> (String, Value) {
        let share = share(seed, attempt, &self.key);
        let value = match &self.domain {
            Domain::List(values) => values[pick(share, values.len() as u64) as usize].clone(),
            Domain::Uniform(low, high) => {
                Value::Float(between(low + share * (high - low), *low, *high))
            }
            Domain::LogUniform(low, high) => {
                let log = low.ln() + share * (high.ln() - low.ln());
                Value::Float(between(log.exp(), *low, *high))
            }
            Domain::Integer(low, high) => {
                let count = high.abs_diff(*low).saturating_add(1);
                Value::Integer(low.saturating_add_unsigned(pick(share, count)))
            }
        };
        (self.key.clone(), value)
    }
}

/// Rounds to four significant digits, which are precise enough and easy to read and type.
fn between(value: f64, low: f64, high: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value).clamp(low, high)
}

fn pick(share: f64, count: u64) -> u64 {
    ((share * count as f64) as u64).min(count - 1)
}

/// Returns a number in `[0, 1)` that depends only on the arguments.
fn share(seed: u64, attempt: u64, key: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(attempt.to_le_bytes());
    hash.update(key);
    let digest = hash.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    // The 53 bits of a float's mantissa.
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

fn collect(table: &Table, section: &str, axes: &mut Vec<Axis>) -> Result<(), String> {
    for (name, value) in table {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match value {
            Value::Array(values) => axes.push(Axis { domain: list(&key, values)?, key }),
            Value::Table(inner) => match range(&key, inner)? {
                Some(domain) => axes.push(Axis { key, domain }),
                None => collect(inner, &key, axes)?,
            },
            other => {
                return Err(format!(
                    "`{key}` is {other}, but must be {RANGES}; put a value that does not vary into [fixed]"
                ));
            }
        }
    }
    Ok(())
}

fn list(key: &str, values: &[Value]) -> Result<Domain, String> {
    if values.is_empty() {
        return Err(format!("`{key}` has no values"));
    }
    for (index, value) in values.iter().enumerate() {
        if values[..index].contains(value) {
            return Err(format!("`{key}` has {value} twice"));
        }
    }
    Ok(Domain::List(values.to_vec()))
}

/// Parses a range such as `{ uniform = [0.1, 0.9] }`; returns `None` if the table is a section.
///
/// # Errors
/// Names `key` if its bounds are not numbers, out of order or, for `log-uniform`, not above 0.
fn range(key: &str, table: &Table) -> Result<Option<Domain>, String> {
    let Some((kind, bounds)) = table.iter().next().filter(|_| table.len() == 1) else {
        return Ok(None);
    };
    let wrong =
        || format!("`{key}` is {{ {kind} = {bounds} }}, but must be {RANGES}, low below high");
    let domain = match (kind.as_str(), bounds.as_array().map(Vec::as_slice)) {
        ("integer", Some([Value::Integer(low), Value::Integer(high)])) if low < high => {
            Domain::Integer(*low, *high)
        }
        ("uniform" | "log-uniform", Some([low, high])) => {
            let (low, high) = (number(low).ok_or_else(wrong)?, number(high).ok_or_else(wrong)?);
            if low >= high || !(high - low).is_finite() {
                return Err(wrong());
            }
            if kind == "uniform" {
                Domain::Uniform(low, high)
            } else if low > 0.0 {
                Domain::LogUniform(low, high)
            } else {
                return Err(format!("`{key}`: a log-uniform range begins above 0, not at {low}"));
            }
        }
        ("integer" | "uniform" | "log-uniform", _) => return Err(wrong()),
        _ => return Ok(None),
    };
    Ok(Some(domain))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn space(text: &str) -> Result<Space, String> {
        Space::parse(&text.parse().unwrap())
    }

    fn integers(settings: &Settings) -> Vec<i64> {
        settings.iter().map(|(_, value)| value.as_integer().unwrap()).collect()
    }

    #[test]
    fn a_grid_has_every_pair_and_its_last_key_changes_fastest() {
        let trials = space("b.x = [1, 2, 3]\na.y = [10, 20]").unwrap().grid().unwrap();
        assert_eq!(
            trials[0].iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["a.y", "b.x"]
        );
        let pairs: Vec<Vec<i64>> = trials.iter().map(integers).collect();
        assert_eq!(pairs, [[10, 1], [10, 2], [10, 3], [20, 1], [20, 2], [20, 3]]);
    }

    #[test]
    fn values_may_be_whole_sections() {
        let space = space(r#"mapper = [{ kind = "mlp" }, { kind = "transformer", layers = 2 }]"#);
        assert_eq!(space.unwrap().size(), Some(2));
    }

    #[test]
    fn impossible_spaces_are_refused_with_their_key() {
        for (text, expected) in [
            ("", "no key is varied"),
            ("a.b = 3", "`a.b` is 3"),
            ("a.b = []", "`a.b` has no values"),
            ("a.b = [1, 2, 1]", "`a.b` has 1 twice"),
            ("a.b = { uniform = [2, 1] }", "low below high"),
            ("a.b = { uniform = [1] }", "low below high"),
            ("a.b = { uniform = [0, inf] }", "low below high"),
            ("a.b = { integer = [1.5, 2] }", "low below high"),
            ("a.b = { log-uniform = [0, 1] }", "begins above 0"),
            ("a.b = { normal = [0, 1] , sd = 3 }", "`a.b.sd` is 3"),
        ] {
            let error = space(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let ranged = space("a.b = { uniform = [0, 1] }").unwrap();
        assert!(ranged.grid().unwrap_err().contains("`a.b` has a range"));
        assert!(space("a = [1, 2]").unwrap().draw(1, 3).unwrap_err().contains("only 2"));
        let narrow = space("a = { uniform = [0.9, 0.9002] }").unwrap();
        let error = narrow.draw(1, 10).unwrap_err();
        assert!(error.contains("10 trials") && error.contains("only 3"), "{error}");
    }

    const MIXED: &str = "a = { uniform = [-1, 1] }\nb = { log-uniform = [1e-6, 1e-2] }\n\
                         c = { integer = [-3, 4] }\nd = [\"x\", \"y\"]";

    #[test]
    fn every_order_of_magnitude_is_as_likely_and_every_value_is_drawn() {
        let trials = space(MIXED).unwrap().draw(7, 400).unwrap();
        let small = trials.iter().filter(|trial| trial[1].1.as_float().unwrap() < 1e-4).count();
        assert!((160..240).contains(&small), "{small} of 400 are below the geometric middle");
        for number in -3..=4 {
            assert!(trials.iter().any(|trial| trial[2].1 == Value::Integer(number)), "{number}");
        }
    }

    proptest! {
        #[test]
        fn a_grid_has_as_many_trials_as_the_lengths_multiply_to(
            lengths in prop::collection::vec(1_i64..5, 1..4),
        ) {
            let axes = lengths.iter().enumerate().map(|(index, &length)| Axis {
                key: format!("k{index}"),
                domain: Domain::List((0..length).map(Value::Integer).collect()),
            });
            let space = Space { axes: axes.collect() };
            let trials = space.grid().unwrap();
            prop_assert_eq!(trials.len() as u64, space.size().unwrap());
            // Strictly ascending, so no trial is there twice.
            prop_assert!(trials.windows(2).all(|pair| integers(&pair[0]) < integers(&pair[1])));
        }

        #[test]
        fn draws_repeat_by_their_seed_differ_by_trial_and_stay_in_their_ranges(
            seed in any::<u64>(), trials in 1_usize..40, more in 0_usize..20,
        ) {
            let space = space(MIXED).unwrap();
            let drawn = space.draw(seed, trials).unwrap();
            prop_assert_eq!(&space.draw(seed, trials + more).unwrap()[..trials], &drawn[..]);
            prop_assert_ne!(&space.draw(seed.wrapping_add(1), trials).unwrap(), &drawn);
            for (index, trial) in drawn.iter().enumerate() {
                prop_assert!(!drawn[index + 1..].contains(trial));
                let float = |position: usize| trial[position].1.as_float().unwrap();
                prop_assert!((-1.0..=1.0).contains(&float(0)));
                prop_assert!((1e-6..=1e-2).contains(&float(1)));
                prop_assert!((-3..=4).contains(&trial[2].1.as_integer().unwrap()));
            }
        }

        #[test]
        fn all_of_a_finite_space_can_be_drawn(seed in any::<u64>()) {
            let drawn = space("a = [1, 2, 3]\nb = { integer = [0, 1] }").unwrap().draw(seed, 6);
            let mut all: Vec<Vec<i64>> = drawn.unwrap().iter().map(integers).collect();
            all.sort_unstable();
            prop_assert_eq!(all, [[1, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1]]);
        }
    }
}
