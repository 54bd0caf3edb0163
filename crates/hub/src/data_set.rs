//! Archives of Flickr8k and Flickr30k.
//!
//! Flickr8k comes from the release that most tutorials use, Karpathy's splits from his page. The
//! images of Flickr30k are only given on request.

use std::ffi::OsStr;
use std::path::Path;

/// The caption files and lists that capsmith reads, and their terms of use.
const TEXTS: [&str; 12] = [
    "captions.txt",
    "results.csv",
    "Flickr8k.token.txt",
    "results_20130124.token",
    "Flickr_8k.trainImages.txt",
    "Flickr_8k.devImages.txt",
    "Flickr_8k.testImages.txt",
    "dataset_flickr8k.json",
    "dataset_flickr30k.json",
    "ExpertAnnotations.txt",
    "CrowdFlowerAnnotations.txt",
    "readme.txt",
];

/// A data set and its archives.
#[derive(Debug, Clone, Copy)]
pub struct DataSet<'a> {
    /// Name, such as `flickr8k`.
    pub name: &'a str,
    /// Archives that can be fetched.
    pub archives: &'a [Archive<'a>],
    /// Number of images.
    pub images: usize,
    /// Instructions for the user, if the images are only given on request.
    ///
    /// `FOLDER` in the text stands for the data set's folder.
    pub instructions: Option<&'a str>,
}

/// A public archive.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    /// File name.
    pub file: &'a str,
    /// Address.
    pub url: &'a str,
    /// Size in bytes, if published.
    pub size: Option<u64>,
    /// `sha256:` or `md5:`, followed by the digest in hexadecimal.
    pub digest: &'a str,
    /// Selects the files to unpack.
    pub keep: fn(&Path) -> bool,
    /// Files in the data set's folder after unpacking; none are listed for the images.
    pub files: &'a [&'a str],
}

/// Flickr8k: 8,091 images, the original release and Karpathy's splits.
///
/// The digests of the two Flickr8k archives are those that torchdatasets (mlverse) checks. The
/// digest of Karpathy's archive is from four public projects. None was verified by a download.
pub const FLICKR8K: DataSet<'static> = DataSet {
    name: "flickr8k",
    archives: &[
        Archive {
            file: "Flickr8k_text.zip",
            url: "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_text.zip",
            size: None,
            digest: "md5:bf6c1abcb8e4a833b7f922104de18627",
            keep: is_text,
            files: &[
                "Flickr8k.token.txt",
                "Flickr_8k.trainImages.txt",
                "Flickr_8k.devImages.txt",
                "Flickr_8k.testImages.txt",
            ],
        },
        Archive {
            keep: |path| path == Path::new("dataset_flickr8k.json"),
            files: &["dataset_flickr8k.json"],
            ..KARPATHY
        },
        Archive {
            file: "Flickr8k_Dataset.zip",
            url: "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/Flickr8k_Dataset.zip",
            size: None,
            digest: "md5:f18a1e2920de5bd84dae7cf08ec78978",
            keep: is_image,
            files: &[],
        },
    ],
    images: 8_091,
    instructions: None,
};

/// Flickr30k: 31,783 images, given only on request; captions and Karpathy's split are public.
pub const FLICKR30K: DataSet<'static> = DataSet {
    name: "flickr30k",
    archives: &[Archive {
        keep: |path| path == Path::new("dataset_flickr30k.json"),
        files: &["dataset_flickr30k.json"],
        ..KARPATHY
    }],
    images: 31_783,
    instructions: Some(
        "Flickr30k's pictures are for researchers who accept its terms. Either\n\
            \x20 a. fill in https://forms.illinois.edu/sec/229675 (from https://shannon.cs.illinois.edu/DenotationGraph/)\n\
            \x20    and unpack the archive that you receive: tar -xzf flickr30k-images.tar.gz -C FOLDER\n\
            \x20 b. or log in at https://www.kaggle.com/datasets/adityajn105/flickr30k (or\n\
            \x20    https://www.kaggle.com/datasets/hsankesara/flickr-image-dataset), accept the terms, and put\n\
            \x20    the download, archive.zip, into FOLDER\n\
            Then run this command again. FOLDER then has flickr30k-images/*.jpg, flickr30k_images/*.jpg or\n\
            Images/*.jpg, and dataset_flickr30k.json (there already), captions.txt or results.csv.",
    ),
};

/// Karpathy's splits of Flickr8k, Flickr30k and COCO.
const KARPATHY: Archive<'static> = Archive {
    file: "caption_datasets.zip",
    url: "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
    size: Some(36_745_453),
    digest: "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    keep: is_text,
    files: &[],
};

pub(crate) fn is_image(path: &Path) -> bool {
    !is_litter(path) && has_extension(path, &["jpg", "jpeg"])
}

pub(crate) fn is_text(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    !is_litter(path) && TEXTS.contains(&name)
}

/// Returns whether `path` is a hidden file or one that macOS adds to archives.
fn is_litter(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name.starts_with('.') || name == "__MACOSX"
    })
}

pub(crate) fn has_extension(path: &Path, known: &[&str]) -> bool {
    path.extension().is_some_and(|end| known.iter().any(|known| end.eq_ignore_ascii_case(known)))
}
