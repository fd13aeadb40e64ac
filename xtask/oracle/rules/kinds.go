package main

import (
	"context"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	_ "k8s.io/kubernetes/pkg/apis/storagemigration/install"
	appscontrollerrevision "k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	appsdaemonset "k8s.io/kubernetes/pkg/registry/apps/daemonset"
	appsdeployment "k8s.io/kubernetes/pkg/registry/apps/deployment"
	appsreplicaset "k8s.io/kubernetes/pkg/registry/apps/replicaset"
	appsstatefulset "k8s.io/kubernetes/pkg/registry/apps/statefulset"
	autoscalinghorizontalpodautoscaler "k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	batchcronjob "k8s.io/kubernetes/pkg/registry/batch/cronjob"
	batchjob "k8s.io/kubernetes/pkg/registry/batch/job"
	certificatescertificates "k8s.io/kubernetes/pkg/registry/certificates/certificates"
	certificatesclustertrustbundle "k8s.io/kubernetes/pkg/registry/certificates/clustertrustbundle"
	certificatespodcertificaterequest "k8s.io/kubernetes/pkg/registry/certificates/podcertificaterequest"
	coordinationlease "k8s.io/kubernetes/pkg/registry/coordination/lease"
	coreconfigmap "k8s.io/kubernetes/pkg/registry/core/configmap"
	coreendpoint "k8s.io/kubernetes/pkg/registry/core/endpoint"
	coreevent "k8s.io/kubernetes/pkg/registry/core/event"
	corelimitrange "k8s.io/kubernetes/pkg/registry/core/limitrange"
	corenamespace "k8s.io/kubernetes/pkg/registry/core/namespace"
	corenode "k8s.io/kubernetes/pkg/registry/core/node"
	corepersistentvolume "k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	corepersistentvolumeclaim "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	corepod "k8s.io/kubernetes/pkg/registry/core/pod"
	corepodtemplate "k8s.io/kubernetes/pkg/registry/core/podtemplate"
	corereplicationcontroller "k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	coreresourcequota "k8s.io/kubernetes/pkg/registry/core/resourcequota"
	coresecret "k8s.io/kubernetes/pkg/registry/core/secret"
	coreservice "k8s.io/kubernetes/pkg/registry/core/service"
	coreserviceaccount "k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	discoveryendpointslice "k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	networkingingress "k8s.io/kubernetes/pkg/registry/networking/ingress"
	networkingingressclass "k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	networkingipaddress "k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	networkingnetworkpolicy "k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	networkingservicecidr "k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	noderuntimeclass "k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	policypoddisruptionbudget "k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	rbacclusterrole "k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	rbacclusterrolebinding "k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	rbacrole "k8s.io/kubernetes/pkg/registry/rbac/role"
	rbacrolebinding "k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	resourcedeviceclass "k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	resourcedevicetaintrule "k8s.io/kubernetes/pkg/registry/resource/devicetaintrule"
	resourceresourceclaim "k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	resourceresourceclaimtemplate "k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	resourceresourceslice "k8s.io/kubernetes/pkg/registry/resource/resourceslice"
	schedulingpriorityclass "k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	storagecsidriver "k8s.io/kubernetes/pkg/registry/storage/csidriver"
	storagecsinode "k8s.io/kubernetes/pkg/registry/storage/csinode"
	storagecsistoragecapacity "k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	storagestorageclass "k8s.io/kubernetes/pkg/registry/storage/storageclass"
	storagevolumeattachment "k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	storagevolumeattributesclass "k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"
	storagemigrationstoragemigration "k8s.io/kubernetes/pkg/registry/storagemigration/storagemigration"
	"k8s.io/utils/clock"
)

// everyone may do everything: what a strategy asks an authorizer is the server's.
type everyone struct{}

func (everyone) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// No question asks for access that a namespace must allow.
var claims = resourceresourceclaim.NewStrategy(nil, everyone{})

var requests = certificatespodcertificaterequest.NewStrategy()

var kinds = map[string]kind{
	"core/pods":                                        {strategy: corepod.Strategy, status: corepod.StatusStrategy, attrs: corepod.GetAttrs, subs: map[string]rest.RESTUpdateStrategy{"ephemeralcontainers": corepod.EphemeralContainersStrategy, "resize": corepod.ResizeStrategy}},
	"core/services":                                    {strategy: coreservice.Strategy, status: coreservice.StatusStrategy, attrs: coreservice.GetAttrs},
	"core/configmaps":                                  {strategy: coreconfigmap.Strategy, attrs: coreconfigmap.GetAttrs},
	"core/secrets":                                     {strategy: coresecret.Strategy, attrs: coresecret.GetAttrs},
	"core/namespaces":                                  {strategy: corenamespace.Strategy, status: corenamespace.StatusStrategy, attrs: corenamespace.GetAttrs, subs: map[string]rest.RESTUpdateStrategy{"finalize": corenamespace.FinalizeStrategy}},
	"core/nodes":                                       {strategy: corenode.Strategy, status: corenode.StatusStrategy, attrs: corenode.GetAttrs},
	"core/serviceaccounts":                             {strategy: coreserviceaccount.Strategy},
	"core/persistentvolumes":                           {strategy: corepersistentvolume.Strategy, status: corepersistentvolume.StatusStrategy, attrs: corepersistentvolume.GetAttrs},
	"core/persistentvolumeclaims":                      {strategy: corepersistentvolumeclaim.Strategy, status: corepersistentvolumeclaim.StatusStrategy, attrs: corepersistentvolumeclaim.GetAttrs},
	"core/replicationcontrollers":                      {strategy: corereplicationcontroller.Strategy, status: corereplicationcontroller.StatusStrategy, attrs: corereplicationcontroller.GetAttrs},
	"core/podtemplates":                                {strategy: corepodtemplate.Strategy},
	"core/limitranges":                                 {strategy: corelimitrange.Strategy},
	"core/resourcequotas":                              {strategy: coreresourcequota.Strategy, status: coreresourcequota.StatusStrategy},
	"core/endpoints":                                   {strategy: coreendpoint.Strategy},
	"core/events":                                      {strategy: coreevent.Strategy, attrs: coreevent.GetAttrs},
	"events.k8s.io/events":                             {strategy: coreevent.Strategy, attrs: coreevent.GetAttrs},
	"apps/deployments":                                 {strategy: appsdeployment.Strategy, status: appsdeployment.StatusStrategy},
	"apps/replicasets":                                 {strategy: appsreplicaset.Strategy, status: appsreplicaset.StatusStrategy, attrs: appsreplicaset.GetAttrs},
	"apps/daemonsets":                                  {strategy: appsdaemonset.Strategy, status: appsdaemonset.StatusStrategy},
	"apps/statefulsets":                                {strategy: appsstatefulset.Strategy, status: appsstatefulset.StatusStrategy},
	"apps/controllerrevisions":                         {strategy: appscontrollerrevision.Strategy},
	"batch/jobs":                                       {strategy: batchjob.Strategy, status: batchjob.StatusStrategy, attrs: batchjob.GetAttrs},
	"batch/cronjobs":                                   {strategy: batchcronjob.Strategy, status: batchcronjob.StatusStrategy},
	"discovery.k8s.io/endpointslices":                  {strategy: discoveryendpointslice.Strategy},
	"coordination.k8s.io/leases":                       {strategy: coordinationlease.Strategy},
	"policy/poddisruptionbudgets":                      {strategy: policypoddisruptionbudget.Strategy, status: policypoddisruptionbudget.StatusStrategy},
	"rbac.authorization.k8s.io/roles":                  {strategy: rbacrole.Strategy},
	"rbac.authorization.k8s.io/rolebindings":           {strategy: rbacrolebinding.Strategy},
	"rbac.authorization.k8s.io/clusterroles":           {strategy: rbacclusterrole.Strategy},
	"rbac.authorization.k8s.io/clusterrolebindings":    {strategy: rbacclusterrolebinding.Strategy},
	"networking.k8s.io/ingresses":                      {strategy: networkingingress.Strategy, status: networkingingress.StatusStrategy},
	"networking.k8s.io/ingressclasses":                 {strategy: networkingingressclass.Strategy},
	"networking.k8s.io/networkpolicies":                {strategy: networkingnetworkpolicy.Strategy},
	"networking.k8s.io/ipaddresses":                    {strategy: networkingipaddress.Strategy},
	"networking.k8s.io/servicecidrs":                   {strategy: networkingservicecidr.Strategy, status: networkingservicecidr.StatusStrategy},
	"storage.k8s.io/storageclasses":                    {strategy: storagestorageclass.Strategy},
	"storage.k8s.io/volumeattachments":                 {strategy: storagevolumeattachment.Strategy, status: storagevolumeattachment.StatusStrategy},
	"storage.k8s.io/csidrivers":                        {strategy: storagecsidriver.Strategy},
	"storage.k8s.io/csinodes":                          {strategy: storagecsinode.Strategy},
	"storage.k8s.io/csistoragecapacities":              {strategy: storagecsistoragecapacity.Strategy},
	"scheduling.k8s.io/priorityclasses":                {strategy: schedulingpriorityclass.Strategy},
	"certificates.k8s.io/certificatesigningrequests":   {strategy: certificatescertificates.Strategy, status: certificatescertificates.StatusStrategy, attrs: certificatescertificates.GetAttrs, subs: map[string]rest.RESTUpdateStrategy{"approval": certificatescertificates.ApprovalStrategy}},
	"autoscaling/horizontalpodautoscalers":             {strategy: autoscalinghorizontalpodautoscaler.Strategy, status: autoscalinghorizontalpodautoscaler.StatusStrategy},
	"node.k8s.io/runtimeclasses":                       {strategy: noderuntimeclass.Strategy},
	"storage.k8s.io/volumeattributesclasses":           {strategy: storagevolumeattributesclass.Strategy},
	"resource.k8s.io/deviceclasses":                    {strategy: resourcedeviceclass.Strategy},
	"resource.k8s.io/devicetaintrules":                 {strategy: resourcedevicetaintrule.Strategy, status: resourcedevicetaintrule.StatusStrategy},
	"resource.k8s.io/resourceclaims":                   {strategy: claims, status: resourceresourceclaim.NewStatusStrategy(claims), attrs: resourceresourceclaim.GetAttrs},
	"resource.k8s.io/resourceclaimtemplates":           {strategy: resourceresourceclaimtemplate.NewStrategy(nil), attrs: resourceresourceclaimtemplate.GetAttrs},
	"resource.k8s.io/resourceslices":                   {strategy: resourceresourceslice.Strategy, attrs: resourceresourceslice.GetAttrs},
	"storagemigration.k8s.io/storageversionmigrations": {strategy: storagemigrationstoragemigration.Strategy, status: storagemigrationstoragemigration.StatusStrategy},
	"certificates.k8s.io/clustertrustbundles":          {strategy: certificatesclustertrustbundle.Strategy},
	"certificates.k8s.io/podcertificaterequests":       {strategy: requests, status: certificatespodcertificaterequest.NewStatusStrategy(requests, everyone{}, clock.RealClock{})},
}
