#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mla {

/// How much every client has been served: the virtual token counters of Sheng et al., "Fairness in Serving
/// Large Language Models" (arXiv 2401.00588, algorithm 2). Who is to be served next is the client with the
/// least. A client that comes back, or comes for the first time, begins at the least of those that are
/// active, so that having been away is no credit; what it had beyond that stays, so that leaving in between
/// is no escape.
class ClientService {
 public:
  /// What a token costs, as in the paper: one of the prompt that is computed, one of the answer.
  static constexpr int64_t kPromptWeight = 1, kAnswerWeight = 2;

  struct Client {
    int64_t service = 0;
    int64_t n_requests = 0;  ///< unfinished
    int64_t n_active = 0;    ///< of them, those that want to be served now (paused ones do not)
  };

  /// One more request of this client, not active yet. The reference stays valid until its leave().
  Client& enter(std::string_view name);
  /// The end of one that is not active.
  void leave(std::string_view name);
  void activate(Client& client);
  void deactivate(Client& client);

  size_t n_known() const { return clients_.size(); }

 private:
  int64_t least_of_active() const;
  void forget_idle();

  std::map<std::string, Client, std::less<>> clients_;
  int64_t floor_ = 0;  ///< least_of_active() when it was last asked for; never falls while anybody is known
  size_t prune_at_ = 64;
};

}  // namespace mla
