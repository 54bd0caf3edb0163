//! Runner of checks that collects their findings.

use std::time::Instant;

use crate::error::{CheckError, catch, first_line};
use crate::finding::{Finding, Group, Verdict};
use crate::observer::Observer;

/// Findings of the checks so far.
pub(crate) struct Examination<'a> {
    observer: &'a mut dyn Observer,
    findings: Vec<Finding>,
}

impl<'a> Examination<'a> {
    pub(crate) fn new(observer: &'a mut dyn Observer) -> Self {
        Self { observer, findings: Vec::new() }
    }

    /// Runs a check; an error or panic fails it.
    pub(crate) fn check(
        &mut self,
        group: Group,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<Verdict, CheckError>,
    ) {
        let name = name.into();
        self.observer.started(group, &name);
        let start = Instant::now();
        let verdict = catch(work).unwrap_or_else(|error| Verdict::failed(first_line(&error)));
        let seconds = start.elapsed().as_secs_f64();
        let finding = Finding { group, name, verdict, seconds };
        self.observer.finished(&finding);
        self.findings.push(finding);
    }

    pub(crate) fn observer(&mut self) -> &mut dyn Observer {
        self.observer
    }

    pub(crate) fn findings(self) -> Vec<Finding> {
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Outcome;

    struct Silent;
    impl Observer for Silent {}

    #[test]
    fn errors_and_panics_are_failures_and_the_next_check_runs() {
        let mut silent = Silent;
        let mut examination = Examination::new(&mut silent);
        examination.check(Group::Networks, "error", || {
            Err(tch::TchError::Torch("out of memory\nframe #0".to_owned()).into())
        });
        examination.check(Group::Networks, "panic", || {
            let _ = tch::Tensor::from_slice(&[1.0_f32]).view([2]);
            Ok(Verdict::ok(""))
        });
        examination.check(Group::Networks, "panic without gradients", || {
            let _ = tch::no_grad(|| tch::Tensor::from_slice(&[1.0_f32]).view([2]));
            Ok(Verdict::ok(""))
        });
        examination.check(Group::Networks, "fine", || {
            let one = tch::Tensor::from_slice(&[1.0_f32]).set_requires_grad(true);
            let takes_gradients = (&one * 2.0).requires_grad();
            Ok(if takes_gradients { Verdict::ok("") } else { Verdict::failed("no gradients") })
        });
        let findings = examination.findings();
        let outcomes: Vec<Outcome> = findings.iter().map(|one| one.verdict.outcome).collect();
        let failed = Outcome::Failed;
        assert_eq!(outcomes, [failed, failed, failed, Outcome::Ok]);
        assert_eq!(findings[0].verdict.detail, "out of memory");
        assert!(findings[1].verdict.detail.starts_with("shape '[2]' is invalid"), "{findings:?}");
        assert!(!findings[1].verdict.detail.contains("frame"), "{findings:?}");
    }
}
