//! Peak rates of GPUs from their data sheets.

use crate::compare::Arithmetic;

/// Peak rates in operations per second, dense.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Peaks {
    f32: f64,
    tf32: Option<f64>,
    bf16: Option<f64>,
}

/// Part of a GPU's name, and 10^12 operations per second in f32, TF32 and bf16 (0: unsupported).
///
/// Names that are the beginning of others come after them.
const GPUS: [(&str, [f64; 3]); 17] = [
    ("B200", [80.0, 1125.0, 2250.0]),
    ("H200", [67.0, 494.7, 989.4]),
    ("H100 PCIe", [51.2, 378.0, 756.0]),
    ("H100 NVL", [60.0, 417.5, 835.0]),
    ("H100", [66.9, 494.7, 989.4]),
    ("A100", [19.5, 156.0, 312.0]),
    ("A40", [37.4, 74.8, 149.7]),
    ("A30", [10.3, 82.0, 165.0]),
    ("A10G", [31.5, 35.0, 70.0]),
    ("A10", [31.2, 62.5, 125.0]),
    ("L40S", [91.6, 183.0, 362.0]),
    ("L40", [90.5, 90.5, 181.0]),
    ("L4", [30.3, 60.0, 121.0]),
    ("RTX 4090", [82.6, 82.6, 165.2]),
    ("RTX 3090", [35.6, 35.6, 71.0]),
    ("V100", [15.7, 0.0, 0.0]),
    ("T4", [8.1, 0.0, 0.0]),
];

/// Returns the peaks of the machine's GPUs if all are of one known kind: the driver's order may
/// differ from CUDA's.
pub(super) fn lookup(names: &[String]) -> Option<Peaks> {
    let first = names.first()?;
    if names.iter().any(|name| name != first) {
        return None;
    }
    // Compare whole words: an RTX A4000 is no A40.
    let name = format!(" {} ", first.replace('-', " "));
    let (_, peaks) = GPUS.iter().find(|(part, _)| name.contains(&format!(" {part} ")))?;
    let [f32, tf32, bf16] = peaks.map(|tera| tera * 1e12);
    let known = |peak: f64| (peak > 0.0).then_some(peak);
    Some(Peaks { f32, tf32: known(tf32), bf16: known(bf16) })
}

impl Peaks {
    pub(super) fn rate(self, arithmetic: Arithmetic) -> Option<f64> {
        match arithmetic {
            Arithmetic::F32 => Some(self.f32),
            Arithmetic::Tf32 => self.tf32,
            Arithmetic::Bf16 | Arithmetic::F16 => self.bf16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_known_by_the_driver_s_names() {
        let bf16 = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            lookup(&names)?.rate(Arithmetic::Bf16)
        };
        assert_eq!(bf16(&["NVIDIA A100-SXM4-80GB"; 2]), Some(312e12));
        assert_eq!(bf16(&["NVIDIA H100 80GB HBM3"]), Some(989.4e12));
        assert_eq!(bf16(&["NVIDIA H100 PCIe"]), Some(756e12));
        assert_eq!(bf16(&["NVIDIA RTX A4000"]), None);
        assert_eq!(bf16(&["NVIDIA L40S"]), Some(362e12));
        assert_eq!(bf16(&["NVIDIA L4"]), Some(121e12));
        assert_eq!(bf16(&["NVIDIA A10G"]), Some(70e12));
        assert_eq!(bf16(&["Tesla T4"]), None);
        assert_eq!(bf16(&["NVIDIA L4", "NVIDIA A100-PCIE-40GB"]), None);
        assert_eq!(bf16(&["Another"]), None);
        assert_eq!(bf16(&[]), None);
    }
}
