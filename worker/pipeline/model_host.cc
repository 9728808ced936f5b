#include "worker/pipeline/model_host.h"

#include "worker/models/generator.h"

namespace promptsweep::worker {
namespace {

class CatalogModelHost final : public ModelHost {
 public:
  explicit CatalogModelHost(const sweep::ModelCatalog* catalog) : catalog_(catalog) {}
  absl::StatusOr<sweep::ModelFolder> Find(const std::string& id) const override { return catalog_->Find(id); }
  absl::StatusOr<std::unique_ptr<Generator>> LoadGenerator(const sweep::ModelFolder& folder,
                                                           const LoadOptions& options) override {
    return worker::LoadGenerator(folder, options);
  }
  absl::StatusOr<std::unique_ptr<Embedder>> LoadEmbedder(const sweep::ModelFolder& folder, const LoadOptions& options) override {
    return worker::LoadEmbedder(folder, options);
  }

 private:
  const sweep::ModelCatalog* const catalog_;
};

}  // namespace

std::unique_ptr<ModelHost> CatalogHost(const sweep::ModelCatalog* catalog) { return std::make_unique<CatalogModelHost>(catalog); }

}  // namespace promptsweep::worker
