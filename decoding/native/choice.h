// Which source proposes how many tokens for each request of a step: `LengthController.choose` of
// decoding/controller.py for sources that are chains, operation by operation, so that both agree bit for bit.

#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace choice {

constexpr int kTable = 512;  // entries of each table of costs; the caller has checked that no row count reaches it

struct Option {
  int32_t request, group, is_free, behind, count;  // `group`: equal for options that share their draft steps
};

struct Costs {
  const double *rows, *draft;  // [kTable]
  double extra, catch_up_steps;
};

struct Problem {
  const Option* options;
  const double* const* survival;  // an option each
  int32_t num_requests, num_options, rows, emitting, longest;
  Costs costs;
};

double worth(const double* survival, int count, double cost) {
  double worth = 0.0;
  for (int i = 0; i < count && survival[i] > cost; ++i) worth += survival[i] - cost;
  return worth;
}

// The best option of each request at `price`, -1 where none pays. `sharing`: options of each group.
std::vector<int> best_options(const Problem& p, const std::vector<int>& sharing, double price) {
  const int ahead = std::max(1, p.num_requests);
  const double row = price * (p.costs.rows[p.rows + ahead] - p.costs.rows[p.rows]) / ahead;
  std::vector<int> best(p.num_requests, -1);
  std::vector<double> most(p.num_requests, 0.0);
  for (int i = 0; i < p.num_options; ++i) {
    const Option& option = p.options[i];
    const int share = sharing[option.group];
    const double step = option.is_free ? 0.0 : price * p.costs.draft[std::min(share, kTable - 1)] / share;
    double gain = worth(p.survival[i], option.count, row + step);
    if (option.behind > 1)
      gain -= price * (p.costs.draft[std::min(option.behind, kTable - 1)] / p.costs.catch_up_steps);
    if (gain > most[option.request]) {
      most[option.request] = gain;
      best[option.request] = i;
    }
  }
  return best;
}

// Lengths for the given options, and the rate that they reach: `price` itself where none beats it.
double scan(const Problem& p, const std::vector<int>& chosen, double price, std::vector<int>& lengths) {
  std::vector<std::pair<double, int>> tokens;
  double left = 0.0;
  for (int request = 0; request < p.num_requests; ++request)
    if (const int option = chosen[request]; option >= 0)
      for (int i = 0; i < std::min(p.options[option].count, p.longest); ++i) {
        tokens.emplace_back(-p.survival[option][i], request);
        left += p.survival[option][i];
      }
  std::sort(tokens.begin(), tokens.end());
  std::vector<int> requests(p.num_options, 0), depth(p.num_options, 0);  // by group
  lengths.assign(p.num_requests, 0);
  double base = p.costs.extra, expected = p.emitting, best_rate = price;
  int rows = p.rows;
  size_t best = 0;
  for (size_t count = 1; count <= tokens.size(); ++count) {
    const int request = tokens[count - 1].second, length = ++lengths[request];
    const Option& option = p.options[chosen[request]];
    const double gain = p.survival[chosen[request]][length - 1];
    expected += gain;
    left -= gain;
    ++rows;
    if (!option.is_free) {
      int &group = requests[option.group], &deep = depth[option.group];
      const int more = group + (length == 1), deeper = std::max(deep, length);
      if (deeper > deep || more > group) {
        base += deeper * p.costs.draft[more] - deep * p.costs.draft[group];
        group = more;
        deep = deeper;
      }
    }
    const double cost = p.costs.rows[rows] + base;
    if (expected > best_rate * cost) {
      best_rate = expected / cost;
      best = count;
    } else if (expected + left <= best_rate * cost) {
      break;
    }
  }
  lengths.assign(p.num_requests, 0);
  for (size_t i = 0; i < best; ++i) ++lengths[tokens[i].second];
  return best_rate;
}

// found: [requests, 2], an option or -1, and how many tokens.
void choose(const Problem& p, double least_gain, int32_t* found) {
  std::vector<int> sharing(p.num_options, 0), before, lengths, chosen(p.num_requests, -1), best_lengths(p.num_requests, 0);
  for (int i = 0; i < p.num_options; ++i) ++sharing[p.options[i].group];
  const double plain = p.emitting / (p.costs.rows[p.rows] + p.costs.extra);
  double price = plain;
  for (int round = 0; round < 3; ++round) {
    std::vector<int> options = best_options(p, sharing, price);
    const bool any = std::any_of(options.begin(), options.end(), [](int option) { return option >= 0; });
    if (!any || options == before) break;
    before = options;
    const double rate = scan(p, options, price, lengths);
    if (rate <= price) break;
    chosen = options;
    best_lengths = lengths;
    price = rate;
  }
  const bool pays = price > plain * least_gain;
  for (int i = 0; i < p.num_requests; ++i) {
    found[2 * i] = pays && best_lengths[i] ? chosen[i] : -1;
    found[2 * i + 1] = pays ? best_lengths[i] : 0;
  }
}

}  // namespace choice
