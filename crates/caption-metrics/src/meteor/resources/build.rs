//! Builds the file of resources from pycocoevalcap's package.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::layout::assemble;
use super::{Error, section};

mod lists;
mod phrases;

const JAR: &str = "meteor/meteor-1.5.jar";
const PARAPHRASES: &str = "meteor/data/paraphrase-en.gz";
/// SHA-256 of the two files of pycocoevalcap 1.2 that hold METEOR.
const JAR_DIGEST: &str = "1e57b4c72c0830ebe68558f1c799a624e96cbc1b6045c9f6330e26dcff6eafc2";
const PARAPHRASES_DIGEST: &str = "c147ac7d2c91f2fbb3ad31e4b352235061eb83145e0434daf217ee9ca5975f48";

/// The note beside the file of resources.
const LICENCES: &str = "\
The file of METEOR resources in this folder was made by caption-metrics from the Python package
pycocoevalcap 1.2. It holds

* the English paraphrase table and function words of METEOR 1.5 (Michael Denkowski and Alon Lavie,
  Carnegie Mellon University), under the GNU Lesser General Public License 2.1, and METEOR's copy of
  the Moses project's list of English abbreviations, under the GNU Lesser General Public License;
* words, synset numbers and irregular forms of WordNet 3.0, Copyright 2006 by Princeton University,
  all rights reserved, under the WordNet licence: permission to use, copy, modify and distribute is
  granted without fee provided that this notice is kept; the database is provided \"as is\" and
  Princeton University makes no representations or warranties, express or implied.

The file may be deleted and rebuilt with `caption-eval fetch meteor`.
";

/// Description of a new file of resources.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// The paraphrases in it.
    pub paraphrases: usize,
}

/// Builds the file of resources at `destination` from pycocoevalcap 1.2.
///
/// `package` is its wheel, or a folder that holds it unpacked (`site-packages`, the package itself,
/// or its `meteor` folder). Takes some seconds and about 700 MB of memory.
///
/// # Errors
/// [`Error::Package`] where the package is another or damaged, [`Error::Write`].
pub fn build(package: &Path, destination: &Path) -> Result<Built, Error> {
    let [jar, paraphrases] = open_package(package)?;
    let wrong = |message| Error::Package { path: package.to_owned(), message };
    let text = |name: &str| {
        let bytes = pip::unzip(&jar, name).map_err(|message| wrong(format!("{JAR}: {message}")))?;
        String::from_utf8(bytes).map_err(|_| wrong(format!("{JAR}: {name} is not UTF-8")))
    };
    let material = Material {
        function_words: text("function/english.words")?,
        prefixes: text("nonbreaking/english.prefixes")?,
        synsets: text("synonym/english.synsets")?,
        exceptions: text("synonym/english.exceptions")?,
        paraphrases: BufReader::with_capacity(1 << 20, GzDecoder::new(paraphrases.as_slice())),
    };
    let packed = pack(material).map_err(wrong)?;
    let file = assemble(&packed.sections);
    if let Some(folder) = destination.parent() {
        durable::create_dir_all(folder)?;
    }
    durable::write(destination, &file)?;
    durable::write(&destination.with_extension("LICENCES.txt"), LICENCES.as_bytes())?;
    Ok(Built { path: destination.to_owned(), bytes: file.len(), paraphrases: packed.paraphrases })
}

/// METEOR's files, as text.
pub(super) struct Material<R> {
    pub(super) function_words: String,
    pub(super) prefixes: String,
    pub(super) synsets: String,
    pub(super) exceptions: String,
    pub(super) paraphrases: R,
}

pub(super) struct Packed {
    pub(super) sections: Vec<Vec<u8>>,
    paraphrases: usize,
}

/// Packs the sections of the file.
///
/// # Errors
/// Names the malformed entry of the material.
pub(super) fn pack<R: BufRead>(material: Material<R>) -> Result<Packed, String> {
    let synonyms = lists::Synsets::parse(&material.synsets)?;
    let forms = synonyms.of_irregular_forms(&material.exceptions)?;
    let phrases = phrases::Table::read(material.paraphrases)?;
    let mut sections = vec![Vec::new(); section::COUNT];
    sections[section::FUNCTION_WORDS] = material.function_words.into_bytes();
    sections[section::PREFIXES] = material.prefixes.into_bytes();
    place(&mut sections, section::SYNONYM_WORDS, synonyms.sections());
    place(&mut sections, section::FORMS, forms.sections());
    place(&mut sections, section::PHRASE_WORDS, phrases.sections()?);
    Ok(Packed { sections, paraphrases: phrases.len() })
}

fn place<const N: usize>(sections: &mut [Vec<u8>], first: usize, contents: [Vec<u8>; N]) {
    for (slot, content) in sections.iter_mut().skip(first).zip(contents) {
        *slot = content;
    }
}

/// Returns the jar and the compressed paraphrase table of a package, checked.
fn open_package(package: &Path) -> Result<[Vec<u8>; 2], Error> {
    let wrong = |message| Error::Package { path: package.to_owned(), message };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
    };
    let files = if package.is_dir() {
        let inside = ["", "pycocoevalcap"].map(|folder| package.join(folder));
        let above = package.parent().map(Path::to_owned).unwrap_or_default();
        let mut roots = inside.into_iter().chain([above]);
        let root = roots
            .find(|root| root.join(JAR).is_file())
            .ok_or_else(|| wrong(format!("there is no {JAR} in it")))?;
        [read(&root.join(JAR))?, read(&root.join(PARAPHRASES))?]
    } else {
        let wheel = read(package)?;
        let read = |name| pip::unzip(&wheel, &format!("pycocoevalcap/{name}")).map_err(wrong);
        [read(JAR)?, read(PARAPHRASES)?]
    };
    for ((name, digest), bytes) in
        [(JAR, JAR_DIGEST), (PARAPHRASES, PARAPHRASES_DIGEST)].into_iter().zip(&files)
    {
        if hex::encode(Sha256::digest(bytes)) != digest {
            return Err(wrong(format!(
                "{name} is another file or damaged (its SHA-256 is not {digest})"
            )));
        }
    }
    Ok(files)
}
