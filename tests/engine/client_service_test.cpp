#include "engine/client_service.h"

#include <gtest/gtest.h>

#include <string>

namespace mla {
namespace {

TEST(ClientService, ANewcomerBeginsAtTheLeastOfTheActive) {
  ClientService clients;
  auto& a = clients.enter("a");
  clients.activate(a);
  auto& b = clients.enter("b");
  clients.activate(b);
  EXPECT_EQ(a.service, 0);
  a.service += 100;
  b.service += 40;
  auto& c = clients.enter("c");
  clients.activate(c);
  EXPECT_EQ(c.service, 40);
  auto& again = clients.enter("b");
  clients.activate(again);
  EXPECT_EQ(&again, &b);
  EXPECT_EQ(b.service, 40) << "who is active is not raised";
}

TEST(ClientService, LeavingIsNoEscapeAndBeingAwayNoCredit) {
  ClientService clients;
  auto& a = clients.enter("a");
  clients.activate(a);
  auto& b = clients.enter("b");
  clients.activate(b);
  a.service += 500;
  clients.deactivate(a);
  clients.leave("a");
  auto& back = clients.enter("a");
  clients.activate(back);
  EXPECT_EQ(back.service, 500) << "b has got nothing yet";

  clients.deactivate(back);
  clients.leave("a");
  b.service += 2000;
  auto& late = clients.enter("a");
  clients.activate(late);
  EXPECT_EQ(late.service, 2000);
}

TEST(ClientService, WhoIsPausedHoldsNobodysBeginningDown) {
  ClientService clients;
  auto& slow = clients.enter("slow");
  clients.activate(slow);
  auto& busy = clients.enter("busy");
  clients.activate(busy);
  clients.deactivate(slow);
  busy.service += 300;
  auto& fresh = clients.enter("fresh");
  clients.activate(fresh);
  EXPECT_EQ(fresh.service, 300);
  clients.activate(slow);
  EXPECT_EQ(slow.service, 300);
}

TEST(ClientService, ForgetsWhoMakesNoDifference) {
  ClientService clients;
  auto& stays = clients.enter("stays");
  clients.activate(stays);
  auto& greedy = clients.enter("greedy");
  clients.activate(greedy);
  greedy.service += 1000000000;
  clients.deactivate(greedy);
  clients.leave("greedy");
  for (int i = 0; i < 10000; ++i) {
    const std::string name = std::to_string(i);
    auto& client = clients.enter(name);
    clients.activate(client);
    client.service += 3;
    clients.deactivate(client);
    clients.leave(name);
    stays.service += 5;
  }
  EXPECT_LT(clients.n_known(), 300U);
  auto& back = clients.enter("greedy");
  clients.activate(back);
  EXPECT_EQ(back.service, 1000000000);
  clients.deactivate(back);
  clients.leave("greedy");
  clients.deactivate(stays);
  clients.leave("stays");
  EXPECT_EQ(clients.n_known(), 0U) << "nobody competes any more";
}

}  // namespace
}  // namespace mla
