// Which source proposes how many tokens for each request of a step: `LengthController.choose` of
// decoding/controller.py for sources that are chains, operation by operation, so that both agree bit for bit.

#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

namespace choice {

constexpr int kTable = 512;    // entries of each table of costs; the caller has checked that no row count reaches it
constexpr int kOptions = 128;  // at most, in all
constexpr int kRequests = 64;
constexpr int kChances = 12;   // of each option

struct Costs {
  const double *rows, *draft;  // [kTable]
  double catch_up_steps, least_gain;
};

struct Option {
  int request, group, is_free, behind, count;  // `group`: equal for options that share their draft steps
  const double* survival;
};

struct Problem {
  Costs costs;
  double extra;
  int num_requests, num_options, rows, emitting;
  Option options[kOptions];
};

inline double worth(const Option& option, double cost) {
  double worth = 0.0;
  for (int i = 0; i < option.count && option.survival[i] > cost; ++i) worth += option.survival[i] - cost;
  return worth;
}

// The best option of each request at `price`, -1 where none pays; whether there is any. `sharing`: options by group.
inline bool best_options(const Problem& p, const int* sharing, double price, int* best) {
  const int ahead = std::max(1, p.num_requests);
  const double row = price * (p.costs.rows[p.rows + ahead] - p.costs.rows[p.rows]) / ahead;
  double most[kRequests];
  for (int request = 0; request < p.num_requests; ++request) {
    best[request] = -1;
    most[request] = 0.0;
  }
  bool any = false;
  for (int i = 0; i < p.num_options; ++i) {
    const Option& option = p.options[i];
    const int share = sharing[option.group];
    const double step = option.is_free ? 0.0 : price * p.costs.draft[share] / share;
    double gain = worth(option, row + step);
    if (option.behind > 1)
      gain -= price * (p.costs.draft[std::min(option.behind, kTable - 1)] / p.costs.catch_up_steps);
    if (gain > most[option.request]) {
      most[option.request] = gain;
      best[option.request] = i;
      any = true;
    }
  }
  return any;
}

// Lengths for the given options, and the rate that they reach: `price` itself where none beats it.
inline double scan(const Problem& p, const int* chosen, double price, int* lengths) {
  std::pair<double, int> tokens[kRequests * kChances];
  int num_tokens = 0, best = 0, rows = p.rows;
  double left = 0.0;
  for (int request = 0; request < p.num_requests; ++request) {
    lengths[request] = 0;
    if (chosen[request] < 0) continue;
    const Option& option = p.options[chosen[request]];
    for (int i = 0; i < option.count; ++i) {
      tokens[num_tokens++] = {-option.survival[i], request};
      left += option.survival[i];
    }
  }
  std::sort(tokens, tokens + num_tokens);
  int requests[kOptions] = {}, depth[kOptions] = {};  // by group
  double base = p.extra, expected = p.emitting, best_rate = price;
  for (int count = 1; count <= num_tokens; ++count) {
    const int request = tokens[count - 1].second, length = ++lengths[request];
    const Option& option = p.options[chosen[request]];
    const double gain = option.survival[length - 1];
    expected += gain;
    left -= gain;
    ++rows;
    if (!option.is_free) {
      int &asked = requests[option.group], &deepest = depth[option.group];
      const int more = asked + (length == 1), deeper = std::max(deepest, length);
      if (deeper > deepest || more > asked) {
        base += deeper * p.costs.draft[more] - deepest * p.costs.draft[asked];
        asked = more;
        deepest = deeper;
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
  std::fill(lengths, lengths + p.num_requests, 0);
  for (int i = 0; i < best; ++i) ++lengths[tokens[i].second];
  return best_rate;
}

// found: [requests, 2], an option or -1, and how many tokens.
inline void choose(const Problem& p, int32_t* found) {
  int sharing[kOptions] = {}, options[kRequests], before[kRequests], lengths[kRequests];
  for (int i = 0; i < p.num_options; ++i) ++sharing[p.options[i].group];
  const double plain = p.emitting / (p.costs.rows[p.rows] + p.extra);
  double price = plain;
  for (int i = 0; i < p.num_requests; ++i) found[2 * i] = -1, found[2 * i + 1] = 0;
  for (int round = 0; round < 3; ++round) {
    const bool any = best_options(p, sharing, price, options);
    if (!any || (round > 0 && std::equal(options, options + p.num_requests, before))) break;
    std::copy(options, options + p.num_requests, before);
    const double rate = scan(p, options, price, lengths);
    if (rate <= price) break;
    price = rate;
    for (int i = 0; i < p.num_requests; ++i) {
      found[2 * i] = lengths[i] ? options[i] : -1;
      found[2 * i + 1] = lengths[i];
    }
  }
  if (price > plain * p.costs.least_gain) return;
  for (int i = 0; i < p.num_requests; ++i) found[2 * i] = -1, found[2 * i + 1] = 0;
}

// `values`: {extra, requests, options, rows, emitting}, then of each option {request, group, is_free, behind, count} and
// its chances, `count` of them.
inline void choose(const Costs& costs, const double* values, int32_t* found) {
  const auto whole = [&values] { return static_cast<int>(*values++); };
  Problem p;
  p.costs = costs;
  p.extra = *values++;
  p.num_requests = whole(), p.num_options = whole(), p.rows = whole(), p.emitting = whole();
  for (int i = 0; i < p.num_options; ++i) {
    Option& option = p.options[i];
    option.request = whole(), option.group = whole(), option.is_free = whole(), option.behind = whole();
    option.count = whole(), option.survival = values;
    values += option.count;
  }
  choose(p, found);
}

}  // namespace choice
