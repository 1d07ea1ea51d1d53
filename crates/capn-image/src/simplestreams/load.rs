//! Reading all documents of a tree.

use super::document::{IMAGE_DOWNLOADS, INDEX_PATH, Index, Products, parse_index, parse_products};
use super::error::StreamsError;
use super::images::{Image, images_of};
use super::problem::{Place, Problem};
use super::source::Source;

/// What a tree holds.
#[derive(Debug, Clone)]
pub struct Streams {
    /// The index.
    pub index: Index,
    /// Documents of products, by path below the root.
    pub documents: Vec<(String, Products)>,
    /// The images of all of them.
    pub images: Vec<Image>,
    /// What no server makes an image of.
    pub problems: Vec<Problem>,
}

/// Reads the index and the documents of images it names.
///
/// # Errors
///
/// When one cannot be had or understood. Single products, versions and items that cannot be used
/// are no error: they are in [`Streams::problems`].
pub async fn load(source: &Source) -> Result<Streams, StreamsError> {
    let failed = |path: &str| {
        let path = source.name_of(path);
        move |error| StreamsError::Document { path, source: error }
    };
    let index = parse_index(&source.text(INDEX_PATH).await?).map_err(failed(INDEX_PATH))?;
    let (mut documents, mut images, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for entry in index.index.values() {
        // Servers skip documents of something else, and those that list no products.
        if entry.datatype != IMAGE_DOWNLOADS || entry.products.is_empty() {
            continue;
        }
        let products = source.text(&entry.path).await?;
        let products = parse_products(&products).map_err(failed(&entry.path))?;
        let (found, wrong) = images_of(&products);
        images.extend(found);
        problems.extend(wrong);
        for key in &entry.products {
            if !products.products.contains_key(key) {
                let problem = format!("is in the index and not in {}", entry.path);
                problems.push(Problem::new(Place::product(key), problem));
            }
        }
        documents.push((entry.path.clone(), products));
    }
    Ok(Streams { index, documents, images, problems })
}
