#include "engine/client_service.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace mla {

ClientService::Client& ClientService::enter(std::string_view name) {
  auto found = clients_.find(name);
  if (found == clients_.end()) {
    if (clients_.size() >= prune_at_) forget_idle();
    found = clients_.emplace(name, Client()).first;
  }
  ++found->second.n_requests;
  return found->second;
}

void ClientService::leave(std::string_view name) {
  const auto found = clients_.find(name);
  assert(found != clients_.end() && found->second.n_active < found->second.n_requests);
  --found->second.n_requests;
  const auto idle = [](const auto& entry) { return entry.second.n_requests == 0; };
  if (std::all_of(clients_.begin(), clients_.end(), idle)) {  // nobody competes: what was is of no matter
    clients_.clear();
    floor_ = 0;
  }
}

void ClientService::activate(Client& client) {
  floor_ = std::max(floor_, least_of_active());
  if (client.n_active++ == 0) client.service = std::max(client.service, floor_);
}

void ClientService::deactivate(Client& client) {
  floor_ =
      std::max(floor_, least_of_active());  // if it is the last, those that come next begin where it ended
  --client.n_active;
}

int64_t ClientService::least_of_active() const {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const auto& [name, client] : clients_) {
    if (client.n_active > 0) least = std::min(least, client.service);
  }
  return least == std::numeric_limits<int64_t>::max() ? floor_ : least;
}

/// Clients without requests whose counter would be raised to the floor anyway: as if they had never been
/// here.
void ClientService::forget_idle() {
  floor_ = std::max(floor_, least_of_active());
  std::erase_if(clients_, [&](const auto& entry) {
    return entry.second.n_requests == 0 && entry.second.service <= floor_;
  });
  prune_at_ = 2 * clients_.size() + 64;
}

}  // namespace mla
