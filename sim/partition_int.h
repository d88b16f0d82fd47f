/* Private to the partitions: the schemes that the registry lists. */
#ifndef SOTTO_SIM_PARTITION_INT_H
#define SOTTO_SIM_PARTITION_INT_H

#include "partition.h"

/* Examples shuffled, then dealt out in equal numbers (the sizes differ by at most one). */
enum sotto_status partition_assign_iid(struct partition_work *w, struct sotto_error *err);
/* McMahan et al. 2017 (arXiv:1602.05629), section 3: sorted by label, divided into clients * shards
 * shards of equal size, each client gets `shards` of them at random. */
enum sotto_status partition_assign_shards(struct partition_work *w, struct sotto_error *err);
/* Hsu et al. 2019 (arXiv:1909.06335) in the form of NIID-Bench (Li et al. 2022, arXiv:2102.02079):
 * the examples of each class go to the clients by p ~ Dir(alpha); clients that hold their even part
 * of all examples already get no more; drawn again until every client has size_min. */
enum sotto_status partition_assign_dirichlet(struct partition_work *w, struct sotto_error *err);
/* NIID-Bench's quantity skew: sizes by q ~ Dir(alpha), examples at random. */
enum sotto_status partition_assign_quantity(struct partition_work *w, struct sotto_error *err);
/* NIID-Bench's label quantity skew, "#C = k" (Li et al. 2022, arXiv:2102.02079, section IV-B):
 * client c has class c mod K and k - 1 others at random; the shuffled examples of a class are
 * divided evenly among the clients that have it. Nobody gets the examples of a class that no client
 * has, which needs fewer clients than classes. */
enum sotto_status partition_assign_classes(struct partition_work *w, struct sotto_error *err);
/* Client = natural key (keys = 1, clients = 0), or shuffled keys dealt out. */
enum sotto_status partition_assign_natural(struct partition_work *w, struct sotto_error *err);

#endif
