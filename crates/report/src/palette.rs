//! Colours and type that all pages of capsmith share.

/// CSS of the palette, the type scale and the plain elements of every page.
///
/// Colours are custom properties: `--page`, `--sheet`, `--tint` are grounds; `--ink`, `--soft`,
/// `--accent`, `--good`, `--warn`, `--bad` and `--c0` to `--c7` are text on them; `--edge` is the
/// border of a control, `--line` of anything else; `--off` and `--on-off` a disabled control. Text
/// sizes are `--xs` to `--xxl`, fonts `--sans` and `--mono`.
pub const PALETTE: &str = include_str!("palette.css");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Returns the colours of a block of custom properties.
    fn colours(block: &str) -> BTreeMap<String, [f64; 3]> {
        let properties = block.split(';').filter_map(|property| property.trim().split_once(": #"));
        let parse = |(name, hex): (&str, &str)| {
            let long: String = match hex.len() {
                3 => hex.chars().flat_map(|digit| [digit, digit]).collect(),
                _ => hex.to_owned(),
            };
            let part = |at| u8::from_str_radix(long.get(at..at + 2)?, 16).ok();
            let rgb = [part(0)?, part(2)?, part(4)?];
            Some((
                name.trim_start_matches("--").to_owned(),
                rgb.map(|part| f64::from(part) / 255.0),
            ))
        };
        properties.filter_map(parse).collect()
    }

    /// Returns the contrast of two colours by WCAG 2.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let linear = |part: f64| {
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |[red, green, blue]: [f64; 3]| {
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn text_has_a_contrast_of_at_least_4_5_in_both_schemes() {
        let blocks: Vec<_> = PALETTE.split(":root {").skip(1).map(colours).collect();
        assert_eq!(blocks.len(), 2, "light and dark");
        for block in blocks {
            let mut pairs: Vec<(String, &str)> = Vec::new();
            for ground in ["page", "sheet", "tint"] {
                let names = ["ink", "soft", "accent", "good", "warn", "bad"].map(str::to_owned);
                let lines = (0..8).map(|number| format!("c{number}"));
                pairs.extend(names.into_iter().chain(lines).map(|name| (name, ground)));
            }
            for (text, ground) in [
                ("on-accent", "accent"),
                ("on-off", "off"),
                ("accent", "accent-tint"),
                ("soft", "accent-tint"),
                ("good", "good-tint"),
                ("warn", "warn-tint"),
                ("ink", "warn-tint"),
                ("bad", "bad-tint"),
                ("ink", "bad-tint"),
            ] {
                pairs.push((text.to_owned(), ground));
            }
            for (text, ground) in pairs {
                let found = contrast(block[&text], block[ground]);
                assert!(found >= 4.5, "--{text} on --{ground}: {found:.2}");
            }
            for ground in ["page", "sheet"] {
                assert!(contrast(block["edge"], block[ground]) >= 3.0, "--edge on --{ground}");
            }
        }
    }
}
