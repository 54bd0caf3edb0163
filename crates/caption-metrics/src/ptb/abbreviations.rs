//! Words after which a period does not end a sentence, as the lexer knows them.

/// Kept with their period, which at a sentence's end stands once more as a token. Any case.
const ENDING: &str = "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs \
    fri ala ariz calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla \
    penn tenn va vt wis wisc wyo inc co cos corp pte pty ptes ptys ppte ppty pptes pptys ltd plc \
    rt bancorp bhd assn univ intl sys tel est ext sq jr sr bros ed.d ph.d blvd rd esq etc al seq \
    bldg";

/// Words like these that are abbreviations only with a capital.
const ENDING_CAPITAL: &str = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash";

/// Kept with their period anywhere. Any case. (Acronyms too; see [`acronym`].)
const INNER: &str = "mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov \
    govs adm rev maj sgt cpl pvt capt st ste ave pres lieut hon brig cmdr comdr pfc spc supt supts \
    det mt ft adj adv asst assoc ens insp mlle mme msgr sfc vs alex wm jos cie a.k.a cf treas ph \
    invt elec natl dept mfg mtg";

const INNER_CAPITAL: &str = "Miss";

/// Kept with their period before a number. Any case.
const NUMBERED: &str = "ca fig figs prop no nos art bldg pp op";

/// Kept with their period before "Ltd" or "Lim…". Any case.
const LIMITED: &str = "pte pty co";

/// Words that, with a capital, show that a sentence begins.
const SENTENCE_START: &str = "About According Additionally After An A As At But Earlier He Her Here \
    However If In It Last Many More Mr. Ms. Now Once One Other Our She Since So Some Such That The \
    Their Then There These They This We When While What Yet You";

pub(super) fn ending() -> String {
    format!("(?:{}|{})", any_case(ENDING), capital_first(ENDING_CAPITAL))
}

pub(super) fn inner() -> String {
    format!("(?:{}|{}|{})", any_case(INNER), capital_first(INNER_CAPITAL), acronym())
}

pub(super) fn numbered() -> String {
    any_case(NUMBERED)
}

pub(super) fn limited() -> String {
    any_case(LIMITED)
}

pub(super) fn sentence_start() -> String {
    capital_first(SENTENCE_START)
}

/// Returns the pattern of a letter, letters with dots between, or two countries, without a final
/// period.
pub(super) fn acronym() -> String {
    format!("(?:[A-Za-z]|{})", dotted_acronym())
}

/// Returns the pattern of an acronym with a dot.
pub(super) fn dotted_acronym() -> String {
    "(?:[A-Za-z](?:\\.[A-Za-z])+|(?i:canada|sino|korean|eu|japan|non)(?i:-u\\.s)|\
     (?i:u\\.s\\.-u\\.k|u\\.s\\.-u\\.s\\.s\\.r))"
        .to_owned()
}

/// Returns whether a period after this word may be part of a token.
pub(super) fn may_keep_period(word: &str) -> bool {
    word.len() == 1
        || [ENDING, ENDING_CAPITAL, INNER, INNER_CAPITAL, NUMBERED, LIMITED]
            .iter()
            .any(|list| list.split(' ').any(|known| known.eq_ignore_ascii_case(word)))
}

fn any_case(words: &str) -> String {
    format!("(?i:{})", words.replace('.', "\\.").replace(' ', "|"))
}

/// The first letter as written, the others in any case.
fn capital_first(words: &str) -> String {
    let words: Vec<String> = words
        .split(' ')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            format!("{first}(?i:{})", rest.replace('.', "\\."))
        })
        .collect();
    format!("(?:{})", words.join("|"))
}
