"""Losses by the letter of their formulas: loops in NumPy, slow and independent."""

import itertools

import numpy as np


def log_probability(scores, order):
    """log P(order) of the Plackett-Luce distribution of the scores."""
    scores = np.asarray(scores, np.float64)[list(order)]
    return sum(s - np.logaddexp.reduce(scores[k:]) for k, s in enumerate(scores))


def permutation_kl(student, teacher):
    """KL between two Plackett-Luce distributions over all orders."""
    orders = list(itertools.permutations(range(len(student))))
    p = [log_probability(teacher, order) for order in orders]
    q = [log_probability(student, order) for order in orders]
    return sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True))


def permutation_kl_and_gradient(student, teacher):
    """The same and its slope in the student's scores, of whatever size: logarithms throughout."""
    scores = [np.asarray(s, np.longdouble) for s in (student, teacher)]
    value, gradient = np.longdouble(0), np.zeros(len(student), np.longdouble)
    for order in itertools.permutations(range(len(student))):
        # Every choice by the scores over the best that remains: nothing is lost beside it.
        gaps = [[s[list(order[k:])] for k in range(len(order))] for s in scores]
        logs = [[-np.log(np.exp(g - g.max()).sum()) + g[0] - g.max() for g in own] for own in gaps]
        probability = np.exp(sum(logs[1]))
        value += probability * sum(t - s for s, t in zip(*logs, strict=True))
        for k, rest in enumerate(gaps[0]):
            share = np.exp(rest - rest.max())
            gradient[list(order[k:])] += probability * share / share.sum()
            gradient[order[k]] -= probability
    return value, gradient


def weighted_permutation_kl(student, teacher, weights):
    """The same, each position's choice with a weight of its own."""
    total = 0.0
    for order in itertools.permutations(range(len(student))):
        terms = 0.0
        for k, weight in enumerate(weights):
            rest = list(order[k:])
            choices = [log_probability(s, rest[:1] + rest[1:]) for s in (teacher, student)]
            later = [log_probability(s, rest[1:]) for s in (teacher, student)]
            terms += weight * ((choices[0] - later[0]) - (choices[1] - later[1]))
        total += np.exp(log_probability(teacher, order)) * terms
    return total


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lmnn(x, labels, margin, push_weight):
    n = len(x)
    squares = [[((a - b) ** 2).sum() for b in x] for a in x]
    pull, push = [], []
    for a, p in itertools.permutations(range(n), 2):
        if labels[a] == labels[p]:
            pull.append(squares[a][p])
            push += [
                max(0, squares[a][p] - squares[a][k] + margin)
                for k in range(n)
                if labels[k] != labels[a]
            ]
    return (1 - push_weight) * np.mean(pull) + push_weight * np.mean(push)


def n_pairs(x, labels, l2_weight):
    values = []
    for a, p in itertools.permutations(range(len(x)), 2):
        if labels[a] == labels[p]:
            negatives = [k for k in range(len(x)) if labels[k] != labels[a]]
            values.append(np.log1p(sum(np.exp(x[a] @ x[k] - x[a] @ x[p]) for k in negatives)))
    return np.mean(values) + l2_weight * np.mean([row @ row for row in x])


def smooth_ap(x, labels, temperature):
    x, values = unit(x), []
    for a in range(len(x)):
        others = [k for k in range(len(x)) if k != a]
        positives = [k for k in others if labels[k] == labels[a]]

        def rank(p, among, a=a):
            gaps = [x[a] @ x[k] - x[a] @ x[p] for k in among if k != p]
            return 1 + sum(1 / (1 + np.exp(-gap / temperature)) for gap in gaps)

        if positives:
            values.append(1 - np.mean([rank(p, positives) / rank(p, others) for p in positives]))
    return np.mean(values)


def semi_hard_triplet(x, labels, margin):
    x = unit(x)
    values = []
    for a, p in itertools.permutations(range(len(x)), 2):
        if labels[a] == labels[p]:
            near = np.linalg.norm(x[a] - x[p])
            far = [np.linalg.norm(x[a] - x[k]) for k in range(len(x)) if labels[k] != labels[a]]
            far = [d for d in far if d > near]
            if far and near - min(far) + margin > 0:
                values.append(near - min(far) + margin)
    return np.mean(values)


def mined_multi_similarity(x, labels, alpha, beta, base, epsilon):
    x, values = unit(x), []
    for a in range(len(x)):
        s = {k: x[a] @ x[k] for k in range(len(x)) if k != a}
        positives = [v for k, v in s.items() if labels[k] == labels[a]]
        negatives = [v for k, v in s.items() if labels[k] != labels[a]]
        hard_positives = [v for v in positives if negatives and v - epsilon < max(negatives)]
        hard_negatives = [v for v in negatives if positives and v + epsilon > min(positives)]
        values.append(
            np.log1p(sum(np.exp(-alpha * (v - base)) for v in hard_positives)) / alpha
            + np.log1p(sum(np.exp(beta * (v - base)) for v in hard_negatives)) / beta
        )
    return np.mean(values)


def softmax(x, labels, weights):
    logits = x @ weights
    return np.mean([np.logaddexp.reduce(z) - z[y] for z, y in zip(logits, labels, strict=True)])


def similarity_match(student, teacher):
    pairs = list(itertools.permutations(range(len(student)), 2))
    gaps = [
        np.linalg.norm(student[i] - student[j]) - np.linalg.norm(teacher[i] - teacher[j])
        for i, j in pairs
    ]
    return np.mean(np.square(gaps))


def gaussian_congruence(student, teacher, gamma):
    def kernel(rows):
        rows = unit(rows)
        return [[np.exp(-gamma * ((a - b) ** 2).sum()) for b in rows] for a in rows]

    return np.mean(np.square(np.subtract(kernel(student), kernel(teacher))))


def ranked_lists(student, teacher, *, alpha, beta, ranks, mean_scaled):
    """Scores of each query's list: the items at the given ranks of the teacher's order."""
    lists = []
    for q in range(len(student)):
        others = [k for k in range(len(student)) if k != q]
        others.sort(key=lambda k, q=q: np.linalg.norm(teacher[q] - teacher[k]))
        scores = []
        for rows in (student, teacher):
            pairs = itertools.permutations(range(len(rows)), 2)
            scale = (
                np.mean([np.linalg.norm(rows[i] - rows[j]) for i, j in pairs])
                if mean_scaled
                else 1.0
            )
            lengths = [np.linalg.norm(rows[q] - rows[others[r]]) / scale for r in ranks]
            scores.append([-alpha * d**beta for d in lengths])
        lists.append(scores)
    return lists
