//! Batch script that runs a sweep as a SLURM array.

use std::path::Path;

use foreign_text::shell_word;

/// Returns a script for `sbatch` of `tasks` array tasks, each with its share of the sweep's trials.
///
/// Each task has its own GPU if `device` is one. Paths are relative to the folder of submission.
#[must_use]
pub fn batch_script(
    name: &str,
    file: &Path,
    out: &Path,
    tasks: usize,
    device: &str,
    more: &[String],
) -> String {
    let gpu = if device.starts_with("cuda") { "#SBATCH --gres=gpu:1\n" } else { "" };
    let last = tasks.saturating_sub(1);
    let more = more.iter().fold(String::new(), |all, word| all + " " + &shell_word(word));
    // sbatch reads a name up to the first blank.
    let job = name.replace(char::is_whitespace, "-");
    let (file, out) =
        (shell_word(&file.display().to_string()), shell_word(&out.display().to_string()));
    format!(
        "#!/bin/bash
# Sweep {name} as {tasks} tasks on shared storage. Submit this script with sbatch from the folder to which
# the paths in the sweep file are relative. Submitted again, it resumes the sweep. The last task to finish
# writes the results of all; `capsmith sweep run {file} --out {out} --resume` also does, at any time.
#SBATCH --job-name=capsmith-{job}
#SBATCH --array=0-{last}
#SBATCH --output=capsmith-{job}-%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
# SIGTERM two minutes before the time limit: runs save a checkpoint and stop.
#SBATCH --signal=TERM@120
# Resources of one task; adapt them to your cluster.
#SBATCH --cpus-per-task=8
{gpu}#SBATCH --time=24:00:00

srun capsmith sweep run {file} --out {out} --task \"$SLURM_ARRAY_TASK_ID/{tasks}\"{more}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_numbers_tasks_from_zero_and_quotes_paths() {
        let more = ["--device".to_owned(), "cuda".to_owned()];
        let script = |device| {
            let (file, out) = (Path::new("a b.toml"), Path::new("/shared/it's"));
            batch_script("a rate", file, out, 4, device, &more)
        };
        assert!(script("cuda").contains("\n#SBATCH --gres=gpu:1\n#SBATCH --time"));
        let script = script("cpu");
        assert!(!script.contains("gres"));
        assert!(script.starts_with("#!/bin/bash\n"));
        assert!(script.contains("\n#SBATCH --array=0-3\n"));
        assert!(script.contains("\n#SBATCH --job-name=capsmith-a-rate\n"));
        let line = r#"sweep run 'a b.toml' --out '/shared/it'\''s' --task "$SLURM_ARRAY_TASK_ID/4" --device cuda"#;
        assert!(script.contains(line), "{script}");
    }
}
