//! Parser of SLURM's host lists, such as `node[03-05,9],other`.

use crate::error::Error;

/// Returns the first host of the SLURM step, else of the job; `None` outside SLURM.
pub(crate) fn first(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Error> {
    for variable in ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"] {
        if let Some(value) = environment(variable) {
            let first = first_of(&value);
            return first.map(Some).ok_or(Error::Hosts { variable, value });
        }
    }
    Ok(None)
}

/// Returns the first host name: up to a comma, each bracket replaced by its first number.
fn first_of(list: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = list.trim();
    loop {
        let end = rest.find(['[', ',']).unwrap_or(rest.len());
        name.push_str(&rest[..end]);
        if !rest[end..].starts_with('[') {
            return (!name.is_empty()).then_some(name);
        }
        let (numbers, after) = rest[end + 1..].split_once(']')?;
        let number = numbers.split(['-', ',']).next().filter(|number| !number.is_empty())?;
        name.push_str(number);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::first_of;

    #[test]
    fn the_first_host_of_a_list_is_found() {
        for (list, first) in [
            ("node1", "node1"),
            ("a,b", "a"),
            ("node[03-05,9],other", "node03"),
            ("r[1-2]n[07,09].cluster,x", "r1n07.cluster"),
        ] {
            assert_eq!(first_of(list).as_deref(), Some(first), "{list}");
        }
        for list in ["", "node[", "node[]"] {
            assert_eq!(first_of(list), None, "{list}");
        }
    }
}
